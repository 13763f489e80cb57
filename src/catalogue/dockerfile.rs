//! What the builder says about a Dockerfile and its context: C4xx.

use super::Entry;
use crate::base::ErrorClass::Build;

pub(super) const ENTRIES: &[Entry] = &[
    Entry::new("C401", "an unknown instruction", &["unknown instruction:"])
        .of(&[Build])
        .means("the line begins with a word that no instruction has; often the line before lacks its backslash")
        .fix("correct the word, or end the line before with `\\`")
        .seen("dockerfile parse error on line 4: unknown instruction: RUNN (did you mean RUN?)"),
    Entry::new("C402", "an empty Dockerfile", &["file with no instructions", "the dockerfile cannot be empty"])
        .of(&[Build])
        .means("the file holds comments and blanks only, or nothing")
        .fix("write at least `FROM`; for a template look at what it is rendered to in `.catamaran/rendered/`")
        .seen("dockerfile parse error on line 1: file with no instructions"),
    Entry::new("C404", "an ignored file is to be copied", &["excluded by .dockerignore"])
        .of(&[Build])
        .means("the file is there, and `.dockerignore` keeps it out of the context")
        .fix("except it in `.dockerignore` with a line `!PATH` below the one that matches")
        .seen("Attempting to Copy file \"./dist/app\" that is excluded by .dockerignore"),
    Entry::new("C403", "what is to be copied is not in the context", &["failed to calculate checksum of ref*not found", "failed to compute cache key*not found", "copy failed*no such file", "failed to walk*no such file"])
        .of(&[Build])
        .means("COPY and ADD see the context only, after its ignore file; paths are relative to the context and not to the Dockerfile")
        .fix("look at the path, at `context` of the component, and at `.dockerignore`")
        .seen("failed to compute cache key: failed to calculate checksum of ref 2x6l::3k1s: \"/requirements.txt\": not found"),
    Entry::new("C415", "a path outside of the context", &["forbidden path outside the build context"])
        .of(&[Build])
        .means("COPY and ADD cannot reach above the context with `..`")
        .fix("widen `context` of the component, or give the other folder a name in `contexts`")
        .seen("COPY failed: forbidden path outside the build context: ../shared ()"),
    Entry::new("C406", "there is no such stage", &["target stage*could not be found"])
        .of(&[Build])
        .means("`target` names a stage that the Dockerfile does not have")
        .fix("correct `target` of the component, or the `AS` of the stage")
        .seen("target stage \"prod\" could not be found"),
    Entry::new("C407", "FROM is left without a name", &["should not be blank", "base name*blank"])
        .of(&[Build])
        .means("a variable in FROM is empty: its ARG must stand before the first FROM and have a value")
        .fix("give the ARG a default, or name it in `args`")
        .seen("base name (${BASE}) should not be blank"),
    Entry::new("C408", "a heredoc without an end", &["unterminated heredoc"])
        .of(&[Build])
        .means("the word that ends the heredoc never stands alone on a line")
        .fix("add the word at the start of a line; blanks before it need `<<-`")
        .seen("dockerfile parse error on line 3: unterminated heredoc"),
    Entry::new("C409", "a secret that is required is missing", &["secret *: not found"])
        .of(&[Build])
        .means("a step asks with `required=true` for a secret that the component does not declare")
        .fix("declare it in `[component.NAME.secrets]` under the id that the Dockerfile uses")
        .seen("failed to solve: secret npmrc: not found"),
    Entry::new("C410", "an ssh agent is missing", &["unset ssh forward key", "no ssh agent `", "no ssh key*forwarded from the client"])
        .of(&[Build])
        .means("a step asks for an ssh agent that the component does not declare")
        .fix("declare it in the component's `ssh`, and start an agent: `eval $(ssh-agent); ssh-add`")
        .seen("no SSH key \"default\" forwarded from the client"),
    Entry::new("C411", "an unknown flag of an instruction", &["unknown flag:"])
        .of(&[Build])
        .means("the instruction has no such flag, or only in a newer syntax")
        .fix("correct the flag, or begin the file with `# syntax=docker/dockerfile:1`")
        .seen("dockerfile parse error on line 2: unknown flag: --chmodd (did you mean chmod?)"),
    Entry::new("C412", "stages that need each other", &["circular dependency detected on stage"])
        .of(&[Build])
        .means("a stage is built from another one that is built from it")
        .fix("move what both need into a stage of its own")
        .seen("circular dependency detected on stage: builder"),
    Entry::new("C413", "an instruction with too few or too many words", &["requires at least", "requires exactly", "requires either one or three arguments"])
        .of(&[Build])
        .means("the instruction needs another number of arguments")
        .fix("complete the line; a variable in it may be empty")
        .seen("dockerfile parse error on line 3: COPY requires at least two arguments, but only one was provided. Destination could not be determined"),
    Entry::new("C414", "several files into one", &["with more than one source file, the destination must be a directory"])
        .of(&[Build])
        .means("several sources can only be copied into a folder, whose name ends in `/`")
        .fix("end the destination with `/`")
        .seen("When using COPY with more than one source file, the destination must be a directory and end with a /"),
    Entry::new("C416", "a quote or variable without an end", &["unexpected end of statement", "unsupported modifier", "missing ':' in substitution", "syntax error: missing '}'"])
        .of(&[Build])
        .means("a quotation mark or a `${` is not closed, or a `${NAME…}` has a form that Dockerfiles do not know")
        .fix("close it, or put `\\` before a sign that is meant as it stands")
        .seen("failed to process \"\\\"${VERSION\": unexpected end of statement while looking for matching double-quote"),
    Entry::new("C417", "the Dockerfile is not where it was looked for", &["failed to read dockerfile"])
        .of(&[Build])
        .means("the builder asked for the Dockerfile by its name and it was not in its folder")
        .fix("correct `dockerfile` of the component")
        .seen("failed to read dockerfile: open Dockerfile: no such file or directory"),
    Entry::new("C418", "an instruction before FROM", &["no build stage in current context"])
        .of(&[Build])
        .means("only ARG may stand before the first FROM")
        .fix("move the instruction below FROM")
        .seen("dockerfile parse error on line 1: no build stage in current context"),
    Entry::new("C419", "an unknown platform", &["unknown operating system or architecture", "failed to parse platform"])
        .of(&[Build])
        .means("what `--platform` in the Dockerfile names is no platform")
        .fix("write it as `linux/amd64`; a variable in it may be empty or misspelt")
        .seen("failed to parse platform linux/amd65: \"amd65\": unknown operating system or architecture: invalid argument"),
    Entry::new("C420", "an unknown kind of mount", &["unsupported mount type"])
        .of(&[Build])
        .means("`RUN --mount=type=` takes bind, cache, tmpfs, secret and ssh")
        .fix("correct the type")
        .seen("unsupported mount type \"cach\" (did you mean cache?)"),
    Entry::new("C421", "the user does not exist in the image", &["unable to find user", "no matching entries in passwd file", "unknown user", "no users found"])
        .means("USER, `--chown` or a tool names a user that the image's /etc/passwd does not have")
        .fix("make the user in a RUN before, or name it by number")
        .seen("unable to find user app: no matching entries in passwd file"),
    Entry::new("C422", "the group does not exist in the image", &["unable to find group", "no matching entries in group file", "invalid group"])
        .means("USER or `--chown` names a group that the image's /etc/group does not have")
        .fix("make the group in a RUN before, or name it by number")
        .seen("unable to find group app: no matching entries in group file"),
    Entry::new("C424", "an ENV or LABEL without `=`", &["can't find = in", "must be of the form: name=value"])
        .of(&[Build])
        .means("an assignment with several words lacks its `=` or its quotation marks")
        .fix("write `NAME=\"value with blanks\"`")
        .seen("dockerfile parse error on line 5: Syntax error - can't find = in \"world\". Must be of the form: name=value"),
    Entry::new("C425", "a folder onto a file, or a file onto a folder", &["cannot copy to non-directory", "cannot replace to directory", "cannot overwrite directory", "mkdir *: not a directory"])
        .of(&[Build])
        .means("at the destination stands something of the other kind; a folder of the context may be a link in the base")
        .fix("remove what stands there in a RUN before, or copy to another place")
        .seen("cannot copy to non-directory: /var/lib/buildkit/runc-overlayfs/snapshots/snapshots/12/fs/app/node_modules"),
    Entry::new("C428", "a download is not what was expected", &["digest mismatch sha256:*: sha256:", "digest mismatch for http"])
        .of(&[Build])
        .means("what ADD fetched has another checksum than its `--checksum` says: the first is what came")
        .fix("look at the address by hand; correct the checksum only if the new content is meant")
        .seen("digest mismatch sha256:da631a82b234c0f618c8c3d30c189e108fa84b35230b9998c3a5bbeae9f0e64d: sha256:0000000000000000000000000000000000000000000000000000000000000000"),
    Entry::new("C434", "a server does not give what ADD asks for", &["invalid response status"])
        .of(&[Build])
        .means("the server answered with this status and not with the file: 404 and 410 say that it has no such file, 401 and 403 that it wants to know who asks, 5xx that it has trouble of its own")
        .fix("look at the address by hand: a version in it may be gone, or a variable empty")
        .seen("failed to load cache key: invalid response status 404"),
    Entry::new("C429", "a lint rule is broken", &["lint violation found for rules"])
        .of(&[Build])
        .means("the Dockerfile has `# check=error=true`, which turns the builder's warnings into errors")
        .fix("correct the lines that the warnings name, or skip the rule: `# check=skip=NAME`")
        .seen("lint violation found for rules: JSONArgsRecommended"),
    Entry::new("C431", "the image has no shell", &["exec: \"/bin/sh\": stat /bin/sh: no such file or directory", "exec: \"/bin/sh\": no such file"])
        .of(&[Build])
        .means("RUN with a plain command needs /bin/sh, which `scratch` and distroless images do not have")
        .fix("do the work in an earlier stage and COPY --from it, or use `RUN [\"/program\", \"argument\"]`")
        .seen("runc run failed: unable to start container process: error during container init: exec: \"/bin/sh\": stat /bin/sh: no such file or directory"),
    Entry::new("C432", "the image has no bash", &["exec: \"/bin/bash\": stat", "exec: \"bash\": executable file not found", "/bin/bash: no such file", "bash: not found"])
        .of(&[Build])
        .means("SHELL, the step or a script's first line asks for bash, and small images such as alpine have only sh")
        .fix("install bash in a RUN before, or write for sh")
        .seen("runc run failed: unable to start container process: error during container init: exec: \"/bin/bash\": stat /bin/bash: no such file or directory"),
    Entry::new("C433", "the program is not in the image", &["container process*executable file not found in $path"])
        .of(&[Build])
        .means("the program that the step starts is not in the image, or not on its PATH")
        .fix("install it in an earlier instruction, or name it by its whole path")
        .seen("runc run failed: unable to start container process: error during container init: exec: \"python\": executable file not found in $PATH"),
];
