{{- define "thresher.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- define "thresher.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{- else -}}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" }}{{- end -}}
{{- end -}}
{{- define "thresher.labels" -}}
app.kubernetes.io/name: {{ include "thresher.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}
{{- define "thresher.selector" -}}
app.kubernetes.io/name: {{ include "thresher.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}
{{- define "thresher.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}{{ default (include "thresher.fullname" .) .Values.serviceAccount.name }}{{- else -}}{{ default "default" .Values.serviceAccount.name }}{{- end -}}
{{- end -}}
{{- define "thresher.image" -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}

{{/* Where to run, as whom, and what every pod has. */}}
{{- define "thresher.pod" -}}
serviceAccountName: {{ include "thresher.serviceAccount" . }}
automountServiceAccountToken: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
securityContext: {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Environment of a service: dict "root" and "user" (its user at the broker). */}}
{{- define "thresher.environment" -}}
{{- $root := .root -}}
- name: THRESHER_CONFIG
  value: /etc/thresher/thresher.toml
- name: THRESHER_SERVER_HOST
  value: 0.0.0.0
- name: THRESHER_LOG_FORMAT
  value: json
- name: THRESHER_NATS_URL
  value: {{ $root.Values.nats.url | quote }}
- name: THRESHER_NATS_REPLICAS
  value: {{ $root.Values.nats.replicas | quote }}
{{- if $root.Values.nats.existingSecret }}
- name: THRESHER_NATS_USER
  value: {{ .user }}
- name: THRESHER_NATS_PASSWORD
  valueFrom: {secretKeyRef: {name: {{ $root.Values.nats.existingSecret }}, key: {{ .user }}-password}}
{{- end }}
{{- if $root.Values.nats.caSecret }}
- name: THRESHER_NATS_TLS_CA
  value: /etc/thresher-nats/ca.crt
{{- end }}
- name: THRESHER_STORAGE
  value: {{ $root.Values.storage.uri | quote }}
{{- with $root.Values.storage.endpointUrl }}
- name: THRESHER_S3_ENDPOINT_URL
  value: {{ . | quote }}
{{- end }}
{{- with $root.Values.storage.region }}
- name: THRESHER_S3_REGION
  value: {{ . | quote }}
{{- end }}
{{- end -}}
{{- define "thresher.environmentFrom" -}}
{{- with .Values.storage.existingSecret }}
- secretRef: {name: {{ . }}}
{{- end }}
{{- with .Values.secretEnvironment }}
- secretRef: {name: {{ . }}, optional: true}
{{- end }}
{{- end -}}
{{- define "thresher.mounts" -}}
- {name: config, mountPath: /etc/thresher, readOnly: true}
{{- if .Values.nats.caSecret }}
- {name: nats-ca, mountPath: /etc/thresher-nats, readOnly: true}
{{- end }}
{{- end -}}
{{- define "thresher.volumes" -}}
- name: config
  configMap: {name: {{ include "thresher.fullname" . }}}
{{- if .Values.nats.caSecret }}
- name: nats-ca
  secret: {secretName: {{ .Values.nats.caSecret }}}
{{- end }}
{{- end -}}
