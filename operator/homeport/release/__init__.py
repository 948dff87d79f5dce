"""Releases: the next version by what commits say, notes for people, and the tag.

========== ======================================================
module     what
========== ======================================================
commits    conventional commits, read from messages
versions   the next version, and pre-releases by branch
notes      release notes
repository git in the work tree of whoever runs us
========== ======================================================

All but ``repository`` are functions of their inputs.
"""
