{{- define "homeport.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{- define "homeport.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else if contains (include "homeport.name" .) .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "homeport.name" .) | trunc 50 | trimSuffix "-" }}
{{- end -}}
{{- end -}}

{{- /* Names of what is cluster-wide: two releases of one name in two namespaces must not meet. */ -}}
{{- define "homeport.clustername" -}}
{{- if eq .Release.Namespace "homeport-system" -}}
{{- include "homeport.fullname" . }}-operator
{{- else -}}
{{- printf "%s-operator-%s" (include "homeport.fullname" .) .Release.Namespace | trunc 63 | trimSuffix "-" }}
{{- end -}}
{{- end -}}

{{- define "homeport.selector" -}}
app.kubernetes.io/name: {{ include "homeport.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "homeport.labels" -}}
{{ include "homeport.selector" . }}
app.kubernetes.io/part-of: homeport
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "homeport.account" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "homeport.fullname" .) .Values.serviceAccount.name }}
{{- else -}}
{{- default "default" .Values.serviceAccount.name }}
{{- end -}}
{{- end -}}

{{- define "homeport.registry" -}}
{{- $registry := (.Values.global).imageRegistry | default .Values.image.registry -}}
{{- with $registry }}{{ trimSuffix "/" . }}/{{ end }}
{{- end -}}

{{- define "homeport.image" -}}
{{- include "homeport.registry" . }}{{ .Values.image.repository }}
{{- if .Values.image.digest }}@{{ .Values.image.digest }}{{ else }}:{{ default .Chart.AppVersion .Values.image.tag }}{{ end }}
{{- end -}}

{{- /* What can't be right together, said before anything is installed. */ -}}
{{- define "homeport.check" -}}
{{- if and .Values.agent.enabled (not .Values.agent.url) }}
{{- fail "agent.enabled needs agent.url: the address at which LXC containers reach the Service, such as https://10.20.0.2:8443" }}
{{- end }}
{{- if and (gt (int .Values.replicas) 1) (not .Values.operator.leaderElection) }}
{{- fail "operator.leaderElection: false allows one replica only; write replicas: 1" }}
{{- end }}
{{- if and .Values.webhooks.ingress.enabled (not .Values.webhooks.enabled) }}
{{- fail "webhooks.ingress.enabled needs webhooks.enabled: true" }}
{{- end }}
{{- if and .Values.webhooks.ingress.enabled (not .Values.webhooks.ingress.host) }}
{{- fail "webhooks.ingress.enabled needs webhooks.ingress.host: the name that the forges send to" }}
{{- end }}
{{- $ports := list (int .Values.service.port) -}}
{{- if .Values.agent.enabled }}{{ $ports = append $ports (int .Values.agent.port) }}{{ end }}
{{- if .Values.webhooks.enabled }}{{ $ports = append $ports (int .Values.webhooks.port) }}{{ end }}
{{- if ne (len $ports) (len (uniq $ports)) }}
{{- fail "service.port, agent.port and webhooks.port must differ" }}
{{- end }}
{{- end -}}
