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

{{/* What pods are found by. Never "istio: pilot", which the Service of an istiod selects. */}}
{{- define "istiod-lite.selector" -}}
app: istiod
{{ include "istiod-lite.own-selector" . }}
{{- end -}}

{{- define "istiod-lite.own-selector" -}}
app.kubernetes.io/name: istiod-lite
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- define "istiod-lite.labels" -}}
app: istiod
{{ include "istiod-lite.cluster-labels" . }}
{{- with .Values.revision }}
istio.io/rev: {{ . | quote }}
{{- end }}
{{- end -}}

{{/* Of objects outside namespaces: an istiod takes webhooks with its istio.io/rev for its own. */}}
{{- define "istiod-lite.cluster-labels" -}}
{{ include "istiod-lite.own-selector" . }}
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

{{- define "istiod-lite.container-security" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
privileged: false
runAsNonRoot: true
capabilities:
  drop: [ALL]
seccompProfile:
  type: RuntimeDefault
{{- end -}}
