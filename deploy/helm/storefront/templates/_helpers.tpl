{{/* What runs: which of the servers it uses, by which of their URLs, and which services it calls. All else is derived
from this table: Deployments, Jobs and network policies, which allow the arrows of docs/architecture.md and no others. */}}
{{- define "storefront.parts" -}}
gateway:
  port: 4000
  calls: [products, orders]
products:
  port: 3001
  urls: {DATABASE_URL: productDb.url, REDIS_URL: productRedis.url, AMQP_URL: broker.productsUrl}
orders:
  port: 3002
  calls: [products]
  urls: {DATABASE_URL: orderDb.url, REDIS_URL: orderRedis.url, AMQP_URL: broker.ordersUrl}
migrate-products:
  job: [migrate, products]
  urls: {DATABASE_OWNER_URL: productDb.ownerUrl, DATABASE_URL: productDb.url, OPERATOR_DATABASE_URL: productDb.operatorUrl}
migrate-orders:
  job: [migrate, orders]
  urls: {DATABASE_OWNER_URL: orderDb.ownerUrl, DATABASE_URL: orderDb.url, OPERATOR_DATABASE_URL: orderDb.operatorUrl}
{{- if .Values.servers.broker.adminUrl }}
broker:
  job: [broker]
  urls: {BROKER_ADMIN_URL: broker.adminUrl, PRODUCTS_AMQP_URL: broker.productsUrl, ORDERS_AMQP_URL: broker.ordersUrl, AMQP_URL: broker.operatorUrl}
{{- end }}
ops:
  urls: {PRODUCTS_DATABASE_URL: productDb.operatorUrl, ORDERS_DATABASE_URL: orderDb.operatorUrl, AMQP_URL: broker.operatorUrl}
{{- end }}

{{/* The names of the servers that a part uses, as a JSON list. */}}
{{- define "storefront.servers" -}}
{{- $names := list }}
{{- range .urls }}{{ $names = append $names (splitList "." . | first) }}{{ end }}
{{- $names | uniq | sortAlpha | toJson }}
{{- end }}

{{- define "storefront.selector" -}}
app.kubernetes.io/name: storefront
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .part }}
{{- end }}

{{- define "storefront.labels" -}}
{{ include "storefront.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end }}

{{- define "storefront.image" -}}
{{ .root.Values.image.repository }}:{{ .tag | default .root.Values.image.tag | default .root.Chart.AppVersion }}
{{- end }}

{{/* Where a secret is: from `secrets.elsewhere` or `secrets.name`. */}}
{{- define "storefront.secret" -}}
{{- $other := get .root.Values.secrets.elsewhere .name | default dict -}}
secretKeyRef:
  name: {{ tpl ($other.name | default .root.Values.secrets.name) .root }}
  key: {{ $other.key | default .name }}
{{- end }}

{{/* Variables for the URLs of a part. Kubernetes fills in $(NAME) from the variables above. */}}
{{- define "storefront.urls" -}}
{{- $root := .root }}
{{- $urls := dict }}
{{- range $name, $path := .part.urls }}
{{- $at := splitList "." $path }}
{{- $found := get (get $root.Values.servers (first $at)) (last $at) }}
{{- $missing := printf "servers.%s is not set: values.yaml shows what it looks like. values-demo.yaml and values-operators.yaml bring servers along." $path }}
{{- $_ := set $urls $name (tpl (required $missing $found) $root) }}
{{- end }}
{{- $named := list }}
{{- range $urls }}{{ range regexFindAll "\\$\\([A-Z_]+\\)" . -1 }}{{ $named = append $named (trimAll "$()" .) }}{{ end }}{{ end }}
{{- range $named | uniq | sortAlpha }}
- name: {{ . }}
  valueFrom:
    {{- include "storefront.secret" (dict "root" $root "name" .) | nindent 4 }}
{{- end }}
{{- range $name, $url := $urls }}
- name: {{ $name }}
  value: {{ $url | quote }}
{{- end }}
{{- end }}

{{/* Both levels of what a restricted namespace asks for. */}}
{{- define "storefront.podSecurity" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: {{ .user }}
  runAsGroup: {{ .user }}
  fsGroup: {{ .user }}
  # A volume's files are given away once, with it: RabbitMQ refuses a cookie that others may read.
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "storefront.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: {{ .readOnly }}
  capabilities: {drop: [ALL]}
{{- end }}

{{/* The pod of a process of ours, around its containers. */}}
{{- define "storefront.pod" -}}
{{ include "storefront.podSecurity" (dict "user" 10001) }}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
volumes:
  - name: tmp
    emptyDir: {medium: Memory, sizeLimit: 16Mi}
{{- end }}

{{- define "storefront.container" -}}
image: {{ include "storefront.image" . }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
{{ include "storefront.containerSecurity" (dict "readOnly" true) }}
volumeMounts:
  - {name: tmp, mountPath: /tmp}
{{- end }}
