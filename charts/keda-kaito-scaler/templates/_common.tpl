{{/* ServiceAccount, PodDisruptionBudget and the outgoing half of the network: (list root "component"). */}}
{{- define "kks.surroundings" -}}
{{- $root := index . 0 -}}
{{- $component := index . 1 -}}
{{- $own := index $root.Values $component -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ $own.serviceAccount.name }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "kks.labels" . | nindent 4 }}
  {{- with $own.serviceAccount.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
automountServiceAccountToken: false
{{- if and $own.podDisruptionBudget.enabled (gt (int $own.replicas) 1) }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: keda-kaito-scaler-{{ $component }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "kks.labels" . | nindent 4 }}
spec:
  maxUnavailable: 1
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "kks.selector" . | nindent 6 }}
{{- end }}
{{- if $root.Values.networkPolicy.enabled }}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: keda-kaito-scaler-{{ $component }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "kks.labels" . | nindent 4 }}
spec:
  podSelector:
    matchLabels:
      {{- include "kks.selector" . | nindent 6 }}
  policyTypes: [Ingress, Egress]
  ingress:
    {{- if eq $component "scaler" }}
    - ports: [{port: 10450}]
      from:
        {{- $namespace := dict "kubernetes.io/metadata.name" (include "kks.workingNamespace" $root) }}
        {{- range $root.Values.networkPolicy.keda }}
        - namespaceSelector:
            matchLabels:
              {{- toYaml $namespace | nindent 14 }}
          podSelector:
            matchLabels:
              {{- toYaml . | nindent 14 }}
        {{- end }}
    {{- end }}
    {{- with $root.Values.networkPolicy.metricsFrom }}
    - ports: [{port: 10451}]
      from:
        {{- toYaml . | nindent 8 }}
    {{- end }}
  egress:
    {{- include "kks.egress" $root | nindent 4 }}
    {{- if eq $component "scaler" }}
    # The pods it scrapes: KAITO's, in any namespace.
    - ports:
        {{- range $root.Values.networkPolicy.scrapePorts }}
        - {port: {{ . }}}
        {{- end }}
      to:
        - namespaceSelector: {}
          podSelector:
            matchExpressions: [{key: inferenceset.kaito.sh/created-by, operator: Exists}]
    {{- end }}
    {{- with $root.Values.networkPolicy.extraEgress }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}
{{- end -}}

{{/* Names, the API server, and the port of a collector: never a metadata service of the cloud. */}}
{{- define "kks.egress" -}}
- ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}]
- ports:
    {{- range .Values.networkPolicy.apiServer.ports }}
    - {port: {{ . }}}
    {{- end }}
  to:
    {{- range .Values.networkPolicy.apiServer.cidrs }}
    {{- include "kks.block" . | nindent 4 }}
    {{- end }}
{{- with .Values.otlpEndpoint }}
# Where the collector is, its name does not tell.
- ports: [{port: {{ regexFind ":[0-9]+$" (urlParse .).host | trimPrefix ":" | default "80" }}}]
  to:
    - namespaceSelector: {}
    {{- range list "0.0.0.0/0" "::/0" }}
    {{- include "kks.block" . | nindent 4 }}
    {{- end }}
{{- end }}
{{- end -}}

{{- define "kks.block" -}}
- ipBlock:
    cidr: {{ . | quote }}
    {{- if eq . "0.0.0.0/0" }}
    except: [169.254.0.0/16]
    {{- else if eq . "::/0" }}
    except: ["fe80::/10"]
    {{- end }}
{{- end -}}

{{/* Binds a Role or ClusterRole to a program: (dict "root" "component" "kind" "name" "namespace"). */}}
{{- define "kks.binding" -}}
{{- $own := index .root.Values .component -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ .kind }}Binding
metadata:
  name: {{ .name }}
  {{- with .namespace }}
  namespace: {{ . }}
  {{- end }}
  labels:
    {{- include "kks.labels" (list .root .component) | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: {{ .kind }}
  name: {{ .name }}
subjects:
  - kind: ServiceAccount
    name: {{ $own.serviceAccount.name }}
    namespace: {{ .root.Release.Namespace }}
{{- end -}}

{{/* Leader election: one Lease. Creation cannot be bound to a name. */}}
{{- define "kks.election" -}}
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [{{ . }}]
  verbs: [get, update]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]
{{- end -}}
