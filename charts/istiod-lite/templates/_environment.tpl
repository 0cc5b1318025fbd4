{{/* The settings of the control plane (docs/settings.md) that values decide on. */}}
{{- define "istiod-lite.environment" -}}
- name: POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: POD_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
- name: ISTIOD_LITE_CLUSTER
  value: required
- name: ISTIOD_LITE_REPLICAS
  value: {{ include "istiod-lite.most-replicas" . | quote }}
- name: ISTIOD_LITE_DATA_DIR
  value: /var/lib/istiod-lite/data
- name: ROOT_CA_DIR
  value: /etc/cacerts
{{- if .Values.authority.istioCaSecret }}
- name: ISTIOD_LITE_ISTIO_CA_SECRET
  value: /etc/istio-ca-secret
{{- end }}
{{- if eq .Values.database.type "postgresql" }}
- name: ISTIOD_LITE_DATABASE_URL
  valueFrom:
    secretKeyRef:
      name: {{ .Values.database.postgresql.existingSecret | quote }}
      key: {{ .Values.database.postgresql.key | quote }}
- name: ISTIOD_LITE_MIGRATES_DATABASE
  value: {{ .Values.database.postgresql.migrate | quote }}
{{- end }}
{{- with .Values.revision }}
- name: REVISION
  value: {{ . | quote }}
{{- end }}
- name: CLUSTER_ID
  value: {{ .Values.clusterId | quote }}
- name: ISTIOD_LITE_DOMAIN_SUFFIX
  value: {{ .Values.domainSuffix | quote }}
- name: ISTIOD_LITE_CONTROL_PLANE_ACCOUNT
  value: {{ include "istiod-lite.account" . | quote }}
- name: CA_TRUSTED_NODE_ACCOUNTS
  value: {{ join "," .Values.authority.trustedNodeAccounts | quote }}
- name: TOKEN_AUDIENCES
  value: {{ join "," .Values.authority.tokenAudiences | quote }}
- name: ISTIOD_LITE_AUTHORITY_KEY_TYPE
  value: {{ .Values.authority.keyType }}
- name: ISTIOD_LITE_LEDGER
  value: {{ .Values.ledger.mode }}
- name: ISTIOD_LITE_LEDGER_RETENTION_DAYS
  value: {{ .Values.ledger.retentionDays | quote }}
- name: ISTIOD_LITE_RESPECTS_ISTIOD
  value: {{ .Values.respectsIstiod | quote }}
- name: AMBIENT_ENABLE_STATUS
  value: {{ .Values.status.enabled | quote }}
- name: PILOT_ENABLE_AMBIENT_WAYPOINTS
  value: {{ .Values.waypoints.enabled | quote }}
{{- if .Values.waypoints.enabled }}
- name: ISTIOD_LITE_WAYPOINT_IMAGE
  value: {{ .Values.waypoints.image | quote }}
- name: ISTIOD_LITE_WAYPOINT_CPU_REQUEST
  value: {{ .Values.waypoints.resources.requests.cpu | quote }}
- name: ISTIOD_LITE_WAYPOINT_MEMORY_REQUEST
  value: {{ .Values.waypoints.resources.requests.memory | quote }}
- name: ISTIOD_LITE_WAYPOINT_CPU_LIMIT
  value: {{ .Values.waypoints.resources.limits.cpu | quote }}
- name: ISTIOD_LITE_WAYPOINT_MEMORY_LIMIT
  value: {{ .Values.waypoints.resources.limits.memory | quote }}
- name: ISTIOD_LITE_WAYPOINT_DRAIN_SECONDS
  value: {{ .Values.waypoints.drainSeconds | quote }}
- name: ISTIOD_LITE_WAYPOINT_LISTEN_ADDRESS
  value: {{ .Values.waypoints.listenAddress | quote }}
{{- end }}
- name: PILOT_AUTO_ALLOW_WAYPOINT_POLICY
  value: {{ .Values.waypoints.guard | quote }}
- name: PILOT_JWT_PUB_KEY_REFRESH_INTERVAL
  value: {{ printf "%vs" .Values.keySets.refreshSeconds | quote }}
- name: ISTIOD_LITE_KEY_SET_LIFETIME
  value: {{ toJson .Values.keySets.lifetimeSeconds | quote }}
{{- if .Values.keySets.rootsConfigMap }}
- name: ISTIOD_LITE_KEY_SET_ROOTS
  value: /etc/key-set-roots/ca.crt
{{- end }}
- name: PILOT_ENABLE_IP_AUTOALLOCATE
  value: {{ .Values.serviceEntryAddresses.enabled | quote }}
{{- if .Values.serviceEntryAddresses.enabled }}
- name: PILOT_IP_AUTOALLOCATE_IPV4_PREFIX
  value: {{ .Values.serviceEntryAddresses.ipv4Range | quote }}
- name: PILOT_IP_AUTOALLOCATE_IPV6_PREFIX
  value: {{ .Values.serviceEntryAddresses.ipv6Range | quote }}
{{- end }}
- name: ISTIOD_LITE_WEBHOOK_CONFIGURATION
  value: {{ include "istiod-lite.webhook-name" . }}
- name: ISTIOD_LITE_DRAIN_TIMEOUT
  value: {{ .Values.drainSeconds | quote }}
- name: ISTIOD_LITE_LOG_FORMAT
  value: {{ .Values.logs.format }}
- name: ISTIOD_LITE_LOG_LEVEL
  value: {{ .Values.logs.level }}
{{- range $name, $value := .Values.env }}
- name: {{ $name }}
  {{- /* As JSON writes numbers: printed, a large one would have an exponent. */}}
  value: {{ kindIs "string" $value | ternary $value (toJson $value) | quote }}
{{- end }}
{{- end -}}
