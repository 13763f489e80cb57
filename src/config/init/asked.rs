/// Servers that the steps of a Dockerfile ask by name and port: `http://apphub:8081/simple` is (`apphub`, 8081).
///
/// Names are as they are written; whether one is a component is the caller's to know. Comments ask nobody.
pub(super) fn asked(dockerfile: &str) -> Vec<(&str, u16)> {
    let lines = dockerfile.lines().filter(|line| !line.trim_start().starts_with('#'));
    lines.flat_map(|line| line.split("://").skip(1)).filter_map(server).collect()
}

/// `HOST:PORT` at the start of what follows a scheme.
fn server(rest: &str) -> Option<(&str, u16)> {
    let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '.' | '-' | '_'))?;
    let (host, rest) = rest.split_at(end);
    let port = rest.strip_prefix(':')?;
    let end = port.find(|c: char| !c.is_ascii_digit()).unwrap_or(port.len());
    let port = port[..end].parse().ok().filter(|port| *port > 0)?;
    Some((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_have_a_name_and_a_port() {
        let text = "# http://old:1/\nFROM a\nRUN wget http://apphub:8081/x && pip -i https://pypi.test:443 y \\\n\
                    && curl http://plain/ http://{{HUB}}:80/ http://$HUB:80/ ftp://big:99999/ http://last:7\n";
        assert_eq!(asked(text), [("apphub", 8081), ("pypi.test", 443), ("last", 7)]);
    }
}
