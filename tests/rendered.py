"""What `homeport render` is compared with: the examples, and the programs that others read its output with."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from click.testing import CliRunner

from homeport.cli.app import root
from manifests import ROOT

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
Objects = dict[tuple[str, str], dict[str, Any]]

EXAMPLES = sorted(path.name for path in (ROOT / "examples").iterdir() if (path / "application.yaml").is_file())


def applications() -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """(example, application, its environments on Kubernetes), of every example."""
    for example in EXAMPLES:
        found = [
            document
            for file in sorted((ROOT / "examples" / example).glob("*.yaml"))
            for document in yaml.safe_load_all(file.read_text())
            if document
        ]
        places = [document for document in found if document["kind"] == "Environment"]
        environments = [d["metadata"]["name"] for d in places if d["spec"].get("runtime") != "Proxmox"]
        for document in found:
            if document["kind"] == "Application":
                own = document["spec"].get("environments")
                names = [entry["name"] for entry in own if entry["name"] in environments] if own else environments
                yield example, document["metadata"]["name"], tuple(names)


def homeport(*words: str | Path) -> str:
    """The standard output of `homeport …`, which must go well."""
    done = CliRunner().invoke(root, [str(word) for word in words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return str(done.stdout)


def rendered(source: Path, app: str, environment: str, *words: str) -> Objects:
    """The plain manifests of an application in an environment."""
    return by_name(homeport("render", app, "-f", source, "-e", environment, *words))


def by_name(text: str) -> Objects:
    """Objects by kind and name; no two are the same."""
    found = [document for document in yaml.load_all(text, Loader=LOADER) if document]
    out = {(document["kind"], document["metadata"]["name"]): document for document in found}
    assert len(out) == len(found)
    return out


def said(*command: str | Path) -> str:
    """The standard output of a program, which must go well."""
    done = subprocess.run([str(word) for word in command], check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


HARD = """
apiVersion: homeport.dev/v1alpha1
kind: Environment
metadata: {name: one, namespace: hard}
spec:
  variables: {A: "1", B: ""}
  isolation: Open
---
apiVersion: homeport.dev/v1alpha1
kind: Environment
metadata: {name: two, namespace: hard}
spec:
  variables: {A: "2", C: "a {{ brace }}"}
  podSecurity: baseline
  ingress: {className: nginx, domain: two.example.com, tls: {issuer: letsencrypt}}
  quota: {cpu: "2"}
---
apiVersion: homeport.dev/v1alpha1
kind: Environment
metadata: {name: three, namespace: hard}
spec:
  ingress: {domain: three.example.com, tls: {secretName: cert}}
---
apiVersion: homeport.dev/v1alpha1
kind: Application
metadata: {name: hard, namespace: hard}
spec:
  version: 1.2.3+build.7
  namePrefix: h-
  components:
    - name: my-web
      image: registry.example.com:5000/team/web
      imagePullSecrets: [{name: pull}]
      ports: [{name: http, port: 8080}]
      env:
        - {name: X, value: "$(A) {{ .Values.no }}"}
        - {name: KEY, valueFrom: {secretKeyRef: {name: made, key: password}}}
      secrets: [{name: made, generate: {length: 33}}]
      files: {/etc/x.conf: "a <b> & {{ c }}\\n", /etc/y.conf: "käse\\u2028\\n"}
      routes: [{path: /, rateLimit: 5/s}, {path: /api, host: other.example.com}]
      probes: {readiness: {path: /ready}}
      migrate: {command: [migrate]}
      volumes: [{name: data, path: /data, size: 1Gi}]
      sidecars: [{name: side, image: "registry.example.com:5000/team/side:1"}, {name: same}]
      labels: {team: "a"}
    - name: db
      type: stateful
      image: postgres@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
      ports: [{name: pg, port: 5432}]
      volumes: [{name: data, path: /data, size: 1Gi}]
    - name: tick
      type: cron
      schedule: "*/5 * * * *"
      image: registry.example.com:5000/team/web
    - name: once
      type: job
      image: busybox:1
      command: [echo, "{{ hello }}"]
      backoffLimit: 0
  environments:
    - name: one
    - name: two
      version: 1.2.2
      overrides:
        my-web:
          replicas: 3
          probes: {readiness: {path: /other, periodSeconds: 3}}
          env: [{name: EXTRA, value: "true"}]
          nodeSelector: {disk: ssd}
          volumes: [{name: data, size: 2Gi, storageClass: fast}]
        db: {replicas: 2}
        tick: {schedule: "0 * * * *", suspend: true}
    - name: three
      overrides:
        my-web:
          autoscaling: {min: 2, max: 4, memory: 60}
          command: [serve]
          terminationGracePeriodSeconds: 0
          securityContext: {runAsUser: 1000}
          image: registry.example.com/other:v9
      patches:
        - target: {kind: Service, name: h-my-web}
          patch: "{metadata: {annotations: {a.b/c: 'x: y'}}, spec: {sessionAffinity: ClientIP}}"
"""

OPTIONAL = ("-a", "traefik.io/v1alpha1", "-a", "monitoring.coreos.com/v1", "-a", "gateway.networking.k8s.io/v1")
"""The optional APIs that `homeport render` makes something of."""
OPTIONAL_KINDS = {"Ingress", "Gateway", "HTTPRoute", "Middleware", "ServiceMonitor", "PodMonitor"}

EDGE = """
apiVersion: homeport.dev/v1alpha1
kind: Environment
metadata: {name: ingress, namespace: edge}
spec:
  ingress: {className: traefik, domain: one.example.com, tls: {issuer: letsencrypt}}
---
apiVersion: homeport.dev/v1alpha1
kind: Environment
metadata: {name: gateway, namespace: edge}
spec:
  ingress: {kind: Gateway, className: public, domain: two.example.com, tls: {issuer: letsencrypt}}
---
apiVersion: homeport.dev/v1alpha1
kind: Environment
metadata: {name: attached, namespace: edge}
spec:
  ingress: {gatewayRef: {name: shared, namespace: infra, sectionName: web}, domain: three.example.com}
---
apiVersion: homeport.dev/v1alpha1
kind: Application
metadata: {name: edge, namespace: edge}
spec:
  version: 1.0.0
  components:
    - name: web
      image: registry.example.com/team/web
      ports: [{name: http, port: 8080}, {name: metrics, port: 9090}]
      metrics: {port: metrics}
      routes:
        - {path: /, port: http, headers: {preset: Secure}}
        - {path: /api, port: http, host: api.example.com}
    - name: db
      type: stateful
      image: postgres:17
      ports: [{name: pg, port: 5432}, {name: metrics, port: 9187}]
      metrics: {port: metrics}
      volumes: [{name: data, path: /data, size: 1Gi}]
  environments:
    - name: ingress
      overrides:
        web: {routes: [{path: /, port: http, rateLimit: 5/s}, {path: /api, port: http, compress: true}]}
    - {name: gateway}
    - {name: attached}
"""


def moved(example: str, project: str, folder: Path) -> Path:
    """A copy of an example in a project of another name, so that nobody else's objects are in the way."""
    copy = folder / "declared"
    copy.mkdir(exist_ok=True)
    for file in (ROOT / "examples" / example).glob("*.yaml"):
        found = [document for document in yaml.safe_load_all(file.read_text()) if document]
        for document in found:
            if document["kind"] in ("Project", "Namespace"):
                document["metadata"]["name"] = project
            if document["kind"] != "Namespace":
                document["metadata"]["namespace"] = project
        (copy / file.name).write_text(yaml.safe_dump_all(found))
    return copy


def commands(readme: Path, environment: str) -> str:
    """The shell commands that a README has for an environment."""
    section = readme.read_text().partition(f"## {environment}:")[2].partition("\n## ")[0]
    return section.partition("```sh\n")[2].partition("```")[0]
