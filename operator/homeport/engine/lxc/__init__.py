"""LXC containers on their hosts: what is looked at, decided by ``plan.lxc``, and done."""
