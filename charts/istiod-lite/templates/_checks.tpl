{{/* Values that each are fine and do not go together. */}}
{{- define "istiod-lite.checks" -}}
{{- $most := include "istiod-lite.most-replicas" . | int }}
{{- if and (eq .Values.database.type "sqlite") (or .Values.autoscaling.enabled (gt $most 1)) }}
  {{- fail (printf "\n\n%d replicas cannot share a SQLite database: set database.type=postgresql and database.postgresql.existingSecret to a Secret with its URL, or replicas=1 and autoscaling.enabled=false\n" $most) }}
{{- end }}
{{- if and (eq .Values.database.type "postgresql") (not .Values.database.postgresql.existingSecret) }}
  {{- fail (printf "\n\ndatabase.type=postgresql needs its URL: set database.postgresql.existingSecret to the name of a Secret in namespace %s that holds it under %q\n" .Release.Namespace .Values.database.postgresql.key) }}
{{- end }}
{{- if and (eq .Values.database.type "postgresql") .Values.database.sqlite.persistence.enabled }}
  {{- fail "\n\ndatabase.sqlite.persistence.enabled is for SQLite: unset it, or set database.type=sqlite\n" }}
{{- end }}
{{- if and .Values.autoscaling.enabled (gt (int .Values.autoscaling.minReplicas) $most) }}
  {{- fail "\n\nautoscaling.minReplicas is more than autoscaling.maxReplicas\n" }}
{{- end }}
{{- end -}}
