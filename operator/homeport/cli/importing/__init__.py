"""From Docker Compose files, and catalogs that hold them, to items of our own catalog.

======== ================================================================
module   what
======== ================================================================
source   files, variables (``${VAR:-default}``), ``extends``
service  one service, with every short form written out
links    who is meant by a host name; which values are secrets
convert  services to components
images   what is known of well-known images
item     the item's files, and whether they hold
======== ================================================================
"""
