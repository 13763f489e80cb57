variable "V" {
  default = "1.2"
  validation {
    condition     = V != ""
    error_message = "V is empty"
  }
}
variable "L" {
  type    = list(string)
  default = ["a", "b"]
}
function "tag" {
  params          = [name]
  variadic_params = rest
  result          = "${name}:${V}${length(rest) == 0 ? "" : join("-", rest)}"
}
group "default" { targets = ["app", "db"] }
target "_common" {
  labels     = { "org.example" = upper(V) }
  platforms  = ["linux/amd64", "linux/arm64"]
  cache-from = ["type=registry,ref=r/c", { type = "gha", scope = "x" }]
}
target "app" {
  inherits = ["_common"]
  name     = "app-${replace(v, ".", "-")}-${os}"
  matrix = {
    v  = ["8.1", "8.2"]
    os = L
  }
  dockerfile-inline = <<-EOT
    FROM alpine:${v}
    %{ for x in L ~}
    RUN echo ${x}
    %{ endfor ~}
  EOT
  args     = { for k, v in { A = "1", B = null } : k => v if v != null }
  tags     = [tag("app", v, os), "x/y:${regex("[0-9]+", v)}"]
  contexts = { db = "target:db" }
  output   = ["type=docker", "type=oci,dest=x.tar"]
  attest   = ["type=provenance,mode=max", "type=sbom"]
  secret   = ["id=t,env=VERSION"]
  ulimits  = ["nofile=1:2"]
  annotations = ["index:a=b"]
}
target "db" {
  tags = target._common.platforms[*]
  args = { T = try(target.nope.tags, "none"), S = format("%05d", 7) }
}
