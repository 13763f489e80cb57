//! What the program says about bake and compose files that it refuses, whole: standard error on 80 columns.

use std::fmt::Write as _;

use crate::support::project::Project;

/// What is wrong, further arguments, and the text of the file.
type Case<'a> = (&'a str, &'a [&'a str], &'a str);

fn refusals(file: &str, cases: &[Case<'_>]) -> String {
    let mut out = String::new();
    for (title, arguments, text) in cases {
        let project = Project::new();
        project.write(file, text);
        project.write("Dockerfile", "FROM scratch\nCOPY x /\n");
        let mut all = vec!["plan", "-f", file];
        all.extend_from_slice(arguments);
        let ran = project.run(&all);
        assert_eq!(ran.code, 2, "{title}:\n{}{}", ran.stdout, ran.stderr);
        let root = format!("{}/", project.root().display());
        let _ = writeln!(out, "## {title}\n{}", ran.stderr.replace(&root, ""));
    }
    out
}

const HCL: &[Case<'_>] = &[
    ("no value", &[], "target \"a\" {\n  tags =\n}\n"),
    ("a block that does not end", &[], "target \"a\" {\n  tags = [\"x\"]\n"),
    ("a list that does not end", &[], "target \"a\" {\n  tags = [\"x\"\n  args = {}\n}\n"),
    ("a string that does not end", &[], "target \"a\" {\n  tags = [\"x]\n}\n"),
    ("single quotes", &[], "target 'a' {\n}\n"),
    ("commas between arguments", &[], "target \"a\" {\n  context = \"x\", dockerfile = \"y\"\n}\n"),
    ("two arguments on a line", &[], "target \"a\" { context = \"x\" dockerfile = \"y\" }\n"),
    ("an argument twice", &[], "target \"a\" {\n  context = \"x\"\n  context = \"y\"\n}\n"),
    ("a key with dots", &[], "target \"a\" {\n  labels = { org.example = \"x\" }\n}\n"),
    ("a heredoc that does not end", &[], "target \"a\" {\n  dockerfile-inline = <<EOF\nFROM x\n  EOF2\n}\n"),
    (
        "several",
        &[],
        "target \"a\" {\n  tags = [\n}\ntarget \"b\" {\n  args = { = 1 }\n}\ngroup \"c\" {\n  targets = x y\n}\n",
    ),
    ("no label", &[], "target {\n}\n"),
    ("two labels", &[], "target \"a\" \"b\" {\n}\n"),
    ("a name", &[], "target \"a b\" {\n}\n"),
    ("an unknown variable", &[], "variable \"VERSION\" {}\ntarget \"a\" {\n  tags = [\"x:${VERSON}\"]\n}\n"),
    ("an unknown variable with no name near", &[], "target \"a\" {\n  args = { A = SOMETHING }\n}\n"),
    ("an unknown function", &[], "target \"a\" {\n  tags = [uper(\"x\")]\n}\n"),
    ("a function of Terraform", &[], "target \"a\" {\n  tags = [startswith(\"x\", \"y\")]\n}\n"),
    ("too few arguments", &[], "target \"a\" {\n  tags = [replace(\"x\", \"y\")]\n}\n"),
    ("a wrong argument", &[], "target \"a\" {\n  tags = [join(\",\", \"x\")]\n}\n"),
    ("an argument that is null", &[], "target \"a\" {\n  tags = [upper(null)]\n}\n"),
    ("an unknown member", &[], "V = { name = \"x\" }\ntarget \"a\" {\n  tags = [V.nme]\n}\n"),
    ("an element too far", &[], "V = [\"x\"]\ntarget \"a\" {\n  tags = [V[1]]\n}\n"),
    ("adding texts", &[], "target \"a\" {\n  tags = [\"x\" + \"y\"]\n}\n"),
    ("a list in a text", &[], "V = [\"x\"]\ntarget \"a\" {\n  tags = [\"a-${V}\"]\n}\n"),
    ("a text for a list", &[], "target \"a\" {\n  tags = \"x\"\n}\n"),
    ("a list for a text", &[], "target \"a\" {\n  context = [\"x\"]\n}\n"),
    ("null for a list", &[], "target \"a\" {\n  output = null\n}\n"),
    ("variables in a circle", &[], "variable \"A\" { default = B }\nvariable \"B\" { default = A }\ntarget \"a\" {}\n"),
    ("functions in a circle", &[], "function \"f\" {\n  params = [x]\n  result = f(x)\n}\ntarget \"a\" {}\n"),
    ("a function without result", &[], "function \"f\" {\n  params = [x]\n}\ntarget \"a\" {}\n"),
    (
        "a failing validation",
        &[],
        "variable \"A\" {\n  default = \"x\"\n  validation {\n    condition     = A == \"y\"\n    error_message = \"A must be y\"\n  }\n}\ntarget \"a\" {}\n",
    ),
    ("a value from outside", &["--set", "N=ten"], "variable \"N\" {\n  default = 10\n}\ntarget \"a\" {}\n"),
    (
        "a parent that is not there",
        &[],
        "target \"base\" {}\ntarget \"a\" {\n  inherits = [\"bse\"]\n}\ngroup \"default\" { targets = [\"a\"] }\n",
    ),
    ("a member that is not there", &[], "target \"app\" {}\ngroup \"default\" {\n  targets = [\"ap\"]\n}\n"),
    (
        "a context that is not there",
        &[],
        "target \"base\" {}\ntarget \"a\" {\n  contexts = { x = \"target:bsae\" }\n}\ngroup \"default\" { targets = [\"a\"] }\n",
    ),
    (
        "contexts in a circle",
        &[],
        "target \"a\" {\n  contexts = { x = \"target:b\" }\n}\ntarget \"b\" {\n  contexts = { x = \"target:a\" }\n}\ngroup \"default\" { targets = [\"a\"] }\n",
    ),
    (
        "a reference to a target that is not there",
        &[],
        "target \"base\" {}\ntarget \"a\" {\n  tags = target.bas.tags\n}\n",
    ),
    ("a matrix without names", &[], "target \"a\" {\n  matrix = { x = [\"1\", \"2\"] }\n}\n"),
    ("a matrix with one name", &[], "target \"a\" {\n  name = \"b\"\n  matrix = { x = [\"1\", \"2\"] }\n}\n"),
    ("a name without a matrix", &[], "target \"a\" {\n  name = \"b\"\n}\n"),
    ("a platform", &[], "target \"a\" {\n  platforms = [\"linux/amd65\"]\n}\n"),
    ("an output", &[], "target \"a\" {\n  output = [\"type=local\"]\n}\n"),
    ("a ulimit", &[], "target \"a\" {\n  ulimits = [\"nofile=5:1\"]\n  platforms = [\"linux/amd64\"]\n}\n"),
    ("a target of the command line", &["webb"], "target \"web\" {\n  platforms = [\"linux/amd64\"]\n}\n"),
    ("an override of nothing", &["--set", "wbe.context=x"], "target \"web\" {}\n"),
    ("an override of a key that is called otherwise", &["--set", "web.platforms=linux/arm64"], "target \"web\" {}\n"),
    ("an override of what only files say", &["--set", "web.inherits=x"], "target \"web\" {}\n"),
    ("an override of an unknown key", &["--set", "web.contxt=x"], "target \"web\" {}\n"),
];

const JSON: &[Case<'_>] = &[
    ("a trailing comma", &[], "{\n  \"target\": {\n    \"a\": {\"tags\": [\"x\",]}\n  }\n}\n"),
    ("an end too early", &[], "{\n  \"target\": {\n"),
    ("single quotes", &[], "{'target': {}}\n"),
    ("a list", &[], "[]\n"),
    (
        "an unknown variable",
        &[],
        "{\"target\": {\n  \"a\": {\"tags\": [\"x:${TAGG}\"]}},\n  \"variable\": {\"TAG\": {\"default\": \"1\"}}\n}\n",
    ),
    ("a broken template", &[], "{\"target\": {\"a\": {\"args\": {\n  \"A\": \"${upper(}\"\n}}}}\n"),
    (
        "a minified file",
        &[],
        "{\"target\":{\"first\":{\"args\":{\"A\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}},\"second\":{\"tags\":\"one\",\"args\":{\"B\":\"bbbbbbbbbbbbbbbbbbbbbbbbbbbbb\"}}}}\n",
    ),
];

const COMPOSE: &[Case<'_>] = &[
    ("a tab", &[], "services:\n\tweb:\n"),
    ("an indentation", &[], "services:\n  web:\n    build: .\n   image: x\n"),
    ("a key twice", &[], "services:\n  web:\n    build: .\n    build: x\n"),
    ("an unknown key in build", &[], "services:\n  web:\n    build:\n      contxt: .\n"),
    ("an unknown key of a service", &[], "services:\n  web:\n    build: .\n    biuld: x\n    dockerfile: D\n"),
    ("an unknown section", &[], "servces:\n  web:\n    build: .\n"),
    ("an unknown key of a secret", &[], "services:\n  web:\n    build: .\nsecrets:\n  key:\n    fil: key.txt\n"),
    ("a number of a variable that is not set", &[], "services:\n  web:\n    build: .\n    scale: ${REPLICAS}\n"),
    (
        "a port of a variable that is not set",
        &[],
        "services:\n  web:\n    build: .\n    ports:\n      - \"80:${PORT}\"\n",
    ),
    (
        "a volume of a variable that is not set",
        &[],
        "services:\n  web:\n    build: .\n    volumes:\n      - ${DATA}:/data\n",
    ),
    ("a service that is nothing", &[], "services:\n  web:\n"),
    ("services as a list", &[], "services:\n  - web\n"),
    ("a number for a mapping", &[], "services: 7\n"),
    ("a variable that is required", &[], "services:\n  web:\n    build: .\n    image: x:${TAG:?give a tag}\n"),
    ("a substitution that does not end", &[], "services:\n  web:\n    build: .\n    image: x:${TAG\n"),
    (
        "Dockerfile and inline",
        &[],
        "services:\n  web:\n    build:\n      dockerfile: D\n      dockerfile_inline: FROM x\n",
    ),
    ("extends nothing", &[], "services:\n  base:\n    build: .\n  web:\n    extends: bse\n"),
    ("extends in a circle", &[], "services:\n  a:\n    extends: b\n  b:\n    extends: a\n"),
    ("a file that is not there", &[], "include:\n  - other.yaml\nservices:\n  web:\n    build: .\n"),
    ("an env file that is not there", &[], "services:\n  web:\n    build: .\n    env_file: no.env\n"),
    (
        "a secret that is not there",
        &[],
        "services:\n  web:\n    build:\n      context: .\n      secrets: [tokn]\nsecrets:\n  token:\n    environment: T\n",
    ),
    (
        "a service in contexts that is not there",
        &[],
        "services:\n  base:\n    build: .\n  web:\n    build:\n      context: .\n      additional_contexts:\n        x: service:bsae\n",
    ),
    ("an alias of nothing", &[], "services:\n  web:\n    build: *nothing\n"),
    ("no services", &[], "name: demo\n"),
    ("a platform", &[], "services:\n  web:\n    build:\n      context: .\n      platforms: [linux/amd65]\n"),
];

#[test]
fn bake_files_are_refused_in_these_words() {
    snapbox::assert_data_eq!(refusals("docker-bake.hcl", HCL), snapbox::file!["refused_hcl.txt"].raw());
}

#[test]
fn bake_files_in_json_are_refused_in_these_words() {
    snapbox::assert_data_eq!(refusals("docker-bake.json", JSON), snapbox::file!["refused_json.txt"].raw());
}

#[test]
fn compose_files_are_refused_in_these_words() {
    snapbox::assert_data_eq!(refusals("compose.yaml", COMPOSE), snapbox::file!["refused_compose.txt"].raw());
}
