"""From Docker Compose files, and catalogs that hold them, to items of our own catalog.

========== ================================================================
module     what
========== ================================================================
source     files, variables (``${VAR:-default}``), ``extends``
service    one service, with every short form written out
images     what is known of well-known images
links      who is meant by a host name; which values are secrets
convert    services to components
conversion what is known of an application on the way
component  one service as a component
volumes    its mounts as volumes
item       the item's files, and whether they hold
========== ================================================================
"""
