//! The page about a run, in a real browser.

use std::fs;
use std::process::Command;

use crate::support::daemon::Daemon;
use crate::support::project::{Project, SHELL};

/// Text that would do harm in a page if it were more than text.
const HOSTILE: &str =
    "</pre></style><script>document.title='HARMED'</script><img src=http://127.0.0.1:9/x onerror=alert(1)>";

fn project() -> Project {
    let base = format!("{SHELL}RUN sleep 1\n");
    let bad = format!("{SHELL}RUN echo \"{HOSTILE}\"; exit 3\n");
    let config = "name = \"demo\"\nplatforms = [\"linux/amd64\", \"linux/arm64\"]\n\
        [component.base]\ndockerfile = \"base/Dockerfile\"\n\
        [component.web]\ndockerfile = \"web/Dockerfile\"\ncontexts = { base = \"component:base\" }\n\
        [component.bad]\ndockerfile = \"bad/Dockerfile\"\nplatforms = [\"linux/amd64\"]\n\
        [component.after]\ndockerfile = \"base/Dockerfile\"\nneeds = [\"bad\"]\nplatforms = [\"linux/amd64\"]\n\
        [component.old]\ndockerfile = \"base/Dockerfile\"\nexclude = \"retired <b>\"\n";
    let files = [("base/Dockerfile", base.as_str()), ("bad/Dockerfile", bad.as_str())];
    let project = Project::with_shell(config, &files);
    project.write("web/Dockerfile", "FROM base\nRUN sleep 1; echo web >/web\n");
    project
}

/// What the browser says about a page: the document after it was loaded, and everything on its console and network.
fn browse(project: &Project, page: &str, picture: &str) -> (String, String) {
    let profile = project.path("profile");
    let url = format!("file://{}", project.path(page).display());
    let log = project.path("net.json");
    let browser = |arguments: &[&str]| {
        let output = Command::new("chromium")
            .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"])
            .args(["--no-first-run", "--disable-background-networking", "--enable-logging=stderr", "--v=0"])
            .arg(format!("--user-data-dir={}", profile.display()))
            .arg(format!("--log-net-log={}", log.display()))
            .args(arguments)
            .arg(&url)
            .output()
            .expect("`chromium` starts: run scripts/setup test");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output
    };
    let shot = format!("--screenshot={}", project.path(picture).display());
    browser(&["--window-size=1200,2400", &shot]);
    let loaded = browser(&["--dump-dom"]);
    let console = String::from_utf8_lossy(&loaded.stderr);
    let console: Vec<&str> = console.lines().filter(|line| line.contains("CONSOLE")).collect();
    (String::from_utf8_lossy(&loaded.stdout).into_owned(), console.join("\n"))
}

#[test]
fn a_run_is_told_on_one_page_that_needs_nothing_else() {
    let project = project();
    project.run(&["report"]).exits(4);
    project.run(&["build", "--builder", Daemon::shared().address()]).exits(3);
    let ran = project.run(&["report", "-o", "run.html"]).exits(0);
    assert_eq!(ran.stdout, "wrote run.html\n");
    let page = fs::read_to_string(project.path("run.html")).expect("a page");
    for part in ["failures", "matrix", "timeline", "path", "emulated", "sizes", "builders"] {
        assert!(page.contains(&format!("<section id=\"{part}\">")), "{part} is not there");
    }
    for text in ["base/amd64", "blocked", "retired &lt;b&gt;", "exit code: 3", "bad/Dockerfile:5", "emulated"] {
        assert!(page.contains(text), "{text} is not there");
    }
    assert!(!page.contains("<script") && !page.contains("<img") && !page.contains("<link"), "{page}");
    let (dom, console) = browse(&project, "run.html", "run.png");
    assert!(dom.contains("<title>demo latest</title>") && !dom.contains("HARMED</title>"), "{dom}");
    assert_eq!(console, "", "the browser complains");
    // Nothing but the file itself was asked for.
    let log = fs::read_to_string(project.path("net.json")).expect("a log");
    assert!(!log.contains("127.0.0.1:9"), "the page asked for something");
    let picture = fs::read(project.path("run.png")).expect("a picture");
    assert!(picture.starts_with(b"\x89PNG") && picture.len() > 30_000, "{} bytes", picture.len());
    // A copy stays for whoever wants to look at it.
    let kept = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    fs::copy(project.path("run.png"), kept.join("report.png")).expect("a copy");
    fs::copy(project.path("run.html"), kept.join("report.html")).expect("a copy");
    let record = project.run(&["report", "--json"]).exits(0).json();
    assert_eq!(record["schema"], "catamaran/run/v1");
}
