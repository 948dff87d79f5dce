"""``homeport export`` and ``homeport import``: a project as one file, and back, on this cluster or another.

============================  ==================================================================================
in the archive                what
============================  ==================================================================================
homeport-export.json          what this is: the project, when, which runs; nothing secret
manifests/NNN-kind-name.yaml  Homeport's objects of the project, without status
history/application.json      the revisions of an Application, without what is the old cluster's own
repository/                   a restic repository with the newest good run of each Backup, and the Secrets if asked
============================  ==================================================================================
"""
