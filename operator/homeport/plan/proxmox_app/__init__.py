"""Applications on Proxmox VE: from a component to LXCContainer objects. Pure.

Each replica is a container of its own, ``<component>-<n>``, as a StatefulSet's Pods are called; what ends (a
migration, a job) is a container that runs its command once. Around them are the same objects as on Kubernetes: Secrets
that are generated, a Service with an EndpointSlice, Ingresses.

=================  ====================================================================
``objects``        all objects of a component
``containers``     the LXCContainers of a component
``together``       the one LXCContainer of all components, with ``placement: Together``
``software``       what runs in one: image, command, environment, files, probes
``sizing``         CPU, memory, root disk and mounts
``reach``          the Service and EndpointSlice that lead to them
``guests``         what is there of them, read from the LXCContainers' statuses
``checks``         what can't be carried out and is refused, with what to write instead
``omissions``      what isn't carried out and is named in the Application's message
=================  ====================================================================
"""
