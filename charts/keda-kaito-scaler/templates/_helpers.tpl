{{/* Labels of every object: (list root "component"). */}}
{{- define "kks.labels" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: keda-kaito-scaler
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{/*
What tells a program's pods from all others. The scaler's is that of the Go scaler's chart, since selectors of Deployments
cannot be changed; the instance keeps the other programs' pods out of it.
*/}}
{{- define "kks.selector" -}}
{{- $root := index . 0 -}}
{{- $component := index . 1 -}}
app.kubernetes.io/name: keda-kaito-scaler
app.kubernetes.io/instance: {{ $root.Release.Name }}{{ if ne $component "scaler" }}-{{ $component }}{{ end }}
{{- end -}}

{{- define "kks.podLabels" -}}
{{ include "kks.selector" . }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* The Deployment's name: the scaler's is the Go scaler's. */}}
{{- define "kks.deployment" -}}
{{- if eq . "scaler" -}}keda-kaito-scaler{{- else -}}keda-kaito-scaler-{{ . }}{{- end -}}
{{- end -}}

{{/* Where the cluster says KEDA is; empty where it says nothing. */}}
{{- define "kks.foundKeda" -}}
{{- $service := dig "spec" "service" dict (lookup "apiregistration.k8s.io/v1" "APIService" "" "v1beta1.external.metrics.k8s.io") -}}
{{- if contains "keda" (dig "name" "" $service) -}}{{- $service.namespace -}}{{- end -}}
{{- end -}}

{{- define "kks.workingNamespace" -}}
{{- coalesce .Values.workingNamespace (include "kks.foundKeda" .) .Release.Namespace -}}
{{- end -}}

{{- define "kks.image" -}}
{{- $root := index . 0 -}}
{{- $image := index . 1 -}}
{{- $name := printf "%s/%s" $root.Values.image.registry $image.repository -}}
{{- if $image.digest -}}
{{ $name }}@{{ $image.digest }}
{{- else -}}
{{ $name }}:{{ coalesce $image.tag $root.Values.image.tag (printf "v%s" $root.Chart.AppVersion) }}
{{- end -}}
{{- end -}}

{{- define "kks.user" -}}
{{- $root := index . 0 -}}
system:serviceaccount:{{ $root.Release.Namespace }}:{{ (index . 1).serviceAccount.name }}
{{- end -}}
