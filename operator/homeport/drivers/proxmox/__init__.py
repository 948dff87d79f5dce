"""Proxmox VE's API: proxmoxer in a bounded pool of threads, typed answers, and errors that say what may be done next.

========== ==================================================================
module     what
========== ==================================================================
errors     what PVE can answer other than yes
config     where a host is, who we are to it, how its certificate is checked
pool       threads for calls that block
connection one endpoint over HTTPS: TLS, and errors out of answers
client     endpoints in order: failover, and which cluster answers
slots      how many of our tasks run
host       what the engine asks for, typed
protocol   the same, as an interface
========== ==================================================================
"""
