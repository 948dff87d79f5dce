"""The templates that every chart has."""

from __future__ import annotations

import json

from homeport.api.component import Component
from homeport.api.pod import GeneratedSecret
from homeport.plan.storage import generated_key

_HELPERS = """\
{{/* The version: the label of every object, and the tag of images that have none of their own. */}}
{{- define "@.version" -}}
{{ .Values.version | default .Chart.AppVersion | replace "+" "_" }}
{{- end }}

{{/* An image: repository and digest, or repository and tag. */}}
{{- define "@.image" -}}
{{- if .image.digest -}}
{{ .image.repository }}@{{ .image.digest }}
{{- else -}}
{{ .image.repository }}:{{ .image.tag | default (include "@.version" .root) }}
{{- end }}
{{- end }}

{{/* The labels of an object of one component. */}}
{{- define "@.labels" -}}
app.kubernetes.io/name: {{ .name | quote }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ .type }}
app.kubernetes.io/part-of: %PROJECT%
app.kubernetes.io/version: {{ include "@.version" .root | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* A container's environment: the shared variables by name, then its own, which win. */}}
{{- define "@.env" -}}
{{- $own := dict -}}
{{- range .env }}{{ $_ := set $own .name true }}{{ end -}}
{{- range $name, $value := .variables }}
{{- if not (hasKey $own $name) }}
- name: {{ $name }}
  {{- with $value | toString }}
  value: {{ . | quote }}
  {{- end }}
{{- end }}
{{- end }}
{{- with .env }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The annotations of an Ingress: the certificate's issuer, and its own. */}}
{{- define "@.ingressAnnotations" -}}
{{- with .shared.clusterIssuer }}
cert-manager.io/cluster-issuer: {{ . | quote }}
{{- end }}
{{- with .own.annotations }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* How many replicas there are at least. */}}
{{- define "@.replicas" -}}
{{- $scaling := .autoscaling | default dict -}}
{{- if $scaling.enabled -}}{{ $scaling.minReplicas | int64 }}{{- else -}}{{ .replicas | int64 }}{{- end -}}
{{- end }}
"""

_MADE_ONCE = """\
{{- /* Made once and never changed; it stays when the release goes, for what it opens stays too. */}}
{{- $found := lookup "v1" "Secret" .Release.Namespace %NAME% | default dict }}
{{- $made := dig "data" %KEY% "" $found | default (randAlphaNum %LENGTH% | b64enc) }}
apiVersion: v1
kind: Secret
metadata:
  name: %NAME%
  namespace: {{ .Release.Namespace }}
  labels:
    {{- include "@.labels" (dict "root" $ "name" "%COMPONENT%" "type" "%TYPE%") | nindent 4 }}
  annotations:
    helm.sh/resource-policy: keep
type: Opaque
data:
  %KEY%: {{ $made }}
"""

NOTES = """\
{{ .Chart.Name }} {{ include "@.version" . }} is in namespace {{ .Release.Namespace }}.

  kubectl get pods -n {{ .Release.Namespace }} -l app.kubernetes.io/instance={{ .Release.Name }}
{{- with .Values.ingress.host }}

It answers at {{ if or $.Values.ingress.clusterIssuer }}https{{ else }}http{{ end }}://{{ . }}
{{- end }}
"""


def helpers(chart: str, project: str) -> str:
    """The named templates, of which other templates are made."""
    return _HELPERS.replace("%PROJECT%", project).replace('"@.', f'"{chart}.')


def notes(chart: str) -> str:
    """What Helm prints after an installation."""
    return NOTES.replace('"@.', f'"{chart}.')


def secret(chart: str, made: GeneratedSecret, part: Component) -> str:
    """The template of a Secret that is generated, and of the keys that hold what is generated in a longer text."""
    key = generated_key(made)
    words = {
        "%NAME%": json.dumps(made.name),
        "%KEY%": json.dumps(key),
        "%LENGTH%": str(made.generate.length),
        "%COMPONENT%": part.name,
        "%TYPE%": part.type,
        '"@.': f'"{chart}.',
    }
    out = _MADE_ONCE
    for word, text in words.items():
        out = out.replace(word, text)
    for name, text in sorted((made.template or {}).items()):
        given = json.dumps(text, ensure_ascii=False)
        out += f'  {json.dumps(name)}: {{{{ {given} | replace "$({key})" ($made | b64dec) | b64enc }}}}\n'
    return out
