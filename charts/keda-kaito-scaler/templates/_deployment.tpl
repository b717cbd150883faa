{{/*
One program: (dict "root" $ "component" "scaler" "env" <list> "strategy" <map> "minReadySeconds" <int> "preStopSeconds" <int>
"ports" <list>).
*/}}
{{- define "kks.program" -}}
{{- $root := .root -}}
{{- $own := index $root.Values .component -}}
{{- $names := list $root .component -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "kks.deployment" .component }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- merge (include "kks.labels" $names | fromYaml) $own.labels | toYaml | nindent 4 }}
  {{- with $own.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  replicas: {{ $own.replicas }}
  revisionHistoryLimit: 3
  {{- with .minReadySeconds }}
  minReadySeconds: {{ . }}
  {{- end }}
  progressDeadlineSeconds: {{ add 600 (.minReadySeconds | default 0) }}
  strategy:
    {{- toYaml .strategy | nindent 4 }}
  selector:
    matchLabels:
      {{- include "kks.selector" $names | nindent 6 }}
  template:
    metadata:
      labels:
        {{- merge (include "kks.podLabels" $names | fromYaml) $own.podLabels | toYaml | nindent 8 }}
      annotations:
        {{- merge (dict "kubectl.kubernetes.io/default-container" .component) $own.podAnnotations | toYaml | nindent 8 }}
    spec:
      serviceAccountName: {{ $own.serviceAccount.name }}
      # Mounted below, short-lived.
      automountServiceAccountToken: false
      enableServiceLinks: false
      terminationGracePeriodSeconds: {{ $own.terminationGracePeriodSeconds }}
      {{- include "kks.placement" (list $root $own) | nindent 6 }}
      {{- with $own.topologySpreadConstraints }}
      topologySpreadConstraints:
        {{- range . }}
        - {{- merge (deepCopy .) (dict "labelSelector" (dict "matchLabels" (include "kks.selector" $names | fromYaml))) | toYaml | nindent 10 }}
        {{- end }}
      {{- end }}
      containers:
        - name: {{ .component }}
          image: {{ include "kks.image" (list $root $own.image) }}
          imagePullPolicy: {{ $root.Values.image.pullPolicy }}
          {{- with $own.extraArgs }}
          args:
            {{- toYaml . | nindent 12 }}
          {{- end }}
          env:
            {{- include "kks.environment" $root | nindent 12 }}
            {{- with .env }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
            {{- with $own.extraEnv }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
          ports:
            {{- range .ports }}
            - {{- toYaml . | nindent 14 }}
            {{- end }}
            - name: metrics
              containerPort: 10451
            - name: health
              containerPort: 10452
          livenessProbe:
            httpGet: {path: /livez, port: health}
            periodSeconds: 10
            timeoutSeconds: 5
            failureThreshold: 6
          readinessProbe:
            httpGet: {path: /readyz, port: health}
            periodSeconds: 5
            timeoutSeconds: 5
            failureThreshold: 2
          {{- with .preStopSeconds }}
          lifecycle:
            preStop:
              sleep: {seconds: {{ . }}}
          {{- end }}
          resources:
            {{- toYaml $own.resources | nindent 12 }}
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities: {drop: [ALL]}
          volumeMounts:
            - name: identity
              mountPath: /var/run/secrets/kubernetes.io/serviceaccount
              readOnly: true
      volumes:
        {{- include "kks.identity" . | nindent 8 }}
{{- end -}}

{{/* Security and where to run: (list root values). */}}
{{- define "kks.placement" -}}
{{- $root := index . 0 -}}
{{- $own := index . 1 -}}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  seccompProfile: {type: RuntimeDefault}
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $own.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $own.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $own.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $own.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Settings go by environment, so that extraArgs override them. */}}
{{- define "kks.environment" -}}
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: POD_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
- name: POD_UID
  valueFrom: {fieldRef: {fieldPath: metadata.uid}}
- name: WORKING_NAMESPACE
  value: {{ include "kks.workingNamespace" . }}
- name: CLUSTER_DOMAIN
  value: {{ .Values.clusterDomain }}
- name: LOG_LEVEL
  value: {{ .Values.logs.level | quote }}
- name: LOG_FORMAT
  value: {{ .Values.logs.format }}
{{- with .Values.otlpEndpoint }}
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ . }}
- name: OTEL_TRACES_SAMPLER
  value: parentbased_traceidratio
- name: OTEL_TRACES_SAMPLER_ARG
  value: {{ $.Values.tracing.sampleRatio | quote }}
{{- end }}
{{- end -}}

{{/* What the client library expects at its usual place. */}}
{{- define "kks.identity" -}}
- name: identity
  projected:
    # 0440, which YAML 1.2 would not read as octal.
    defaultMode: 288
    sources:
      - serviceAccountToken: {path: token, expirationSeconds: 3600}
      - configMap:
          name: kube-root-ca.crt
          items: [{key: ca.crt, path: ca.crt}]
      - downwardAPI:
          items: [{path: namespace, fieldRef: {fieldPath: metadata.namespace}}]
{{- end -}}
