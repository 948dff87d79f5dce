"""``homeport render``: an application as plain manifests, as a kustomization, as a Helm chart.

========= =================================================================
module    what
========= =================================================================
sources   the application and its environments, from files or a cluster
common    what several environments have in common, and how each differs
kustomize a base and one overlay for each environment
chart     a Helm chart's files
extract   from an object to a template with holes, and what fills them
nodes     what a template is made of, and its text
helpers   templates that every chart has
schema    the schema of a chart's values
notes     what must be there before, as text and as commands
folder    writing a folder that can be written again
========= =================================================================
"""
