{{- define "longthink.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 53 | trimSuffix "-" -}}
{{- end -}}

{{- define "longthink.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains (include "longthink.name" .) .Release.Name -}}
{{- .Release.Name | trunc 53 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "longthink.name" .) | trunc 53 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "longthink.selector" -}}
app.kubernetes.io/name: {{ include "longthink.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "longthink.labels" -}}
{{ include "longthink.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "longthink.metadata" -}}
name: {{ include "longthink.fullname" . }}
namespace: {{ .Release.Namespace }}
labels:
  {{- include "longthink.labels" . | nindent 2 }}
{{- end -}}

{{- define "longthink.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "longthink.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "longthink.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "longthink.storeSecret" -}}
{{- if .Values.store.existingSecret -}}
{{- .Values.store.existingSecret -}}
{{- else if .Values.store.url -}}
{{- printf "%s-store" (include "longthink.fullname" .) -}}
{{- end -}}
{{- end -}}

{{- /* preStop, the drain, and what the server needs to cut off whoever is left */ -}}
{{- define "longthink.graceSeconds" -}}
{{- add .Values.preStopSeconds (ceil .Values.settings.drain_seconds) 10 -}}
{{- end -}}
