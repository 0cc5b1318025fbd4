{{/*
One CustomResourceDefinition. In: group, kind, plural, singular, shortNames, versions (the first one
is stored), columns, spec (what is known of the fields), status (more of its fields).
What is not known of a spec is kept as it is: what is wrong with it, the webhook says.
*/}}
{{- define "istiod-lite.definition" -}}
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: {{ .plural }}.{{ .group }}
  labels:
    {{- .labels | nindent 4 }}
  annotations:
    # With a definition every object of the kind would go.
    helm.sh/resource-policy: keep
spec:
  group: {{ .group }}
  scope: Namespaced
  names:
    kind: {{ .kind }}
    listKind: {{ .kind }}List
    plural: {{ .plural }}
    singular: {{ .singular }}
    shortNames: {{ toJson .shortNames }}
    categories: [istio-io, {{ .category }}]
  versions:
    {{- $definition := . }}
    {{- range $index, $version := .versions }}
    - name: {{ $version }}
      served: true
      storage: {{ eq $index 0 }}
      subresources:
        status: {}
      additionalPrinterColumns:
        {{- range $definition.columns }}
        - name: {{ .name }}
          type: string
          jsonPath: {{ .path }}
        {{- end }}
        - name: Age
          type: date
          jsonPath: .metadata.creationTimestamp
      schema:
        openAPIV3Schema:
          type: object
          properties:
            spec:
              type: object
              x-kubernetes-preserve-unknown-fields: true
              {{- with $definition.spec }}
              properties:
                {{- toYaml . | nindent 16 }}
              {{- end }}
            status:
              type: object
              x-kubernetes-preserve-unknown-fields: true
              properties:
                conditions:
                  type: array
                  x-kubernetes-list-type: map
                  x-kubernetes-list-map-keys: [type]
                  items:
                    type: object
                    x-kubernetes-preserve-unknown-fields: true
                    required: [type]
                    properties:
                      type:
                        type: string
                      status:
                        type: string
                      reason:
                        type: string
                      message:
                        type: string
                      lastTransitionTime:
                        type: string
                        format: date-time
                      observedGeneration:
                        x-kubernetes-int-or-string: true
                {{- with $definition.status }}
                {{- toYaml . | nindent 16 }}
                {{- end }}
    {{- end }}
{{- end -}}
