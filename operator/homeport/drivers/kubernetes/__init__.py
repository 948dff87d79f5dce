"""The Kubernetes API: a small client on aiohttp, list-and-watch caches, and a cluster as the engine sees it.

========== ==================================================================
module     what
========== ==================================================================
types      every kind we write or watch, and its URL
errors     what the API server can answer other than yes
config     where the API server is and who we are to it
protocol   the verbs, as an interface that the memory driver fulfils as well
client     the verbs over HTTP
informer   one kind, listed and watched into a cache
cluster    all the kinds of one cluster
========== ==================================================================
"""
