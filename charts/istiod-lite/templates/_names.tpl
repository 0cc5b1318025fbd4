{{- define "istiod-lite.name" -}}
istiod{{ with .Values.revision }}-{{ . }}{{ end }}
{{- end -}}

{{- define "istiod-lite.cluster-name" -}}
istiod-lite{{ with .Values.revision }}-{{ . }}{{ end }}-{{ .Release.Namespace }}
{{- end -}}

{{- define "istiod-lite.account" -}}
{{ .Values.serviceAccount.name | default (include "istiod-lite.name" .) }}
{{- end -}}

{{- define "istiod-lite.webhook-name" -}}
istiod-lite-validator{{ with .Values.revision }}-{{ . }}{{ end }}-{{ .Release.Namespace }}
{{- end -}}

{{/* What pods are found by. Never "istio: pilot": the Service of an istiod selects that. */}}
{{- define "istiod-lite.selector" -}}
app: istiod
app.kubernetes.io/name: istiod-lite
istio.io/rev: {{ .Values.revision | default "default" }}
{{- end -}}

{{- define "istiod-lite.labels" -}}
{{ include "istiod-lite.selector" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{- define "istiod-lite.image" -}}
{{ .Values.image.repository }}
{{- if .Values.image.digest }}@{{ .Values.image.digest }}
{{- else }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}
{{- end -}}

{{/* How many replicas there may be. */}}
{{- define "istiod-lite.most-replicas" -}}
{{- if .Values.autoscaling.enabled }}{{ .Values.autoscaling.maxReplicas }}{{ else }}{{ .Values.replicas }}{{ end }}
{{- end -}}

{{- define "istiod-lite.claim" -}}
{{ .Values.database.sqlite.persistence.existingClaim | default (printf "%s-data" (include "istiod-lite.name" .)) }}
{{- end -}}
