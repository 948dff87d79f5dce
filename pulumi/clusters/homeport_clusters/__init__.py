"""Kubernetes clusters, and Homeport in them, as a Pulumi program.

=========== ==============================================================================
module      what
=========== ==============================================================================
model       the base of every block of cluster.yaml
config      the file as a whole: clusters, add-ons, Homeport, the root GitSource
k3s_config  the block of clusters of type k3s
cloudspecs  the blocks of clusters of types eks, gke and aks
providers   dynamic providers on Homeport's drivers: objects, charts, kind, k3s, containers
components  a ComponentResource for each type of cluster, and for what goes into each
clouds      EKS, GKE and AKS by their packages, which are imported only when they are used
program     from a ClusterFile to resources and outputs
automation  the program's stacks by the Automation API: ``homeport cluster``
=========== ==============================================================================
"""
