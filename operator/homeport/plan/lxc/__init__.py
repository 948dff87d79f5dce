"""LXC containers, pure: what one should be, what differs from it, and what to do next.

========== ====================================================================
module     what
========== ====================================================================
owner      whose a container is: the mark in its description
wanted     what its configuration should be, from the spec and its place
diff       what differs, what mending that takes, and the options to send
memory     what the status remembers, typed
steps      what to do next
status     what the status says
========== ====================================================================
"""
