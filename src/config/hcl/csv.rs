/// The fields of one line of comma-separated values; `"` quotes, and is doubled inside quotes.
///
/// As strict as the reference: no quote inside an unquoted field, nothing after a closing quote, no empty line.
pub(crate) fn fields(line: &str, separator: char) -> Result<Vec<String>, String> {
    let line = line.strip_suffix('\n').map_or(line, |line| line.strip_suffix('\r').unwrap_or(line));
    if line.is_empty() {
        return Err("nothing is written here".to_owned());
    }
    let (fields, rest) = record(line, separator, false)?;
    if rest.is_empty() { Ok(fields) } else { Err("more than one line".to_owned()) }
}

/// All lines that are not empty.
pub(crate) fn records(text: &str) -> Result<Vec<Vec<String>>, String> {
    let mut records = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('\n').or_else(|| rest.strip_prefix("\r\n")) {
            rest = after;
            continue;
        }
        let (fields, after) = record(rest, ',', true)?;
        records.push(fields);
        rest = after;
    }
    Ok(records)
}

/// Fields up to the end of the text, or of the line where `lines` is set, and what follows.
fn record(text: &str, separator: char, lines: bool) -> Result<(Vec<String>, &str), String> {
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        let (field, after) = if let Some(quoted) = rest.strip_prefix('"') {
            quoted_field(quoted)?
        } else {
            let end = rest.find(|c| c == separator || lines && c == '\n').unwrap_or(rest.len());
            let field = &rest[..end];
            if field.contains('"') {
                return Err("a quote inside a field that does not begin with one".to_owned());
            }
            let field = if lines { field.strip_suffix('\r').unwrap_or(field) } else { field };
            (field.to_owned(), &rest[end..])
        };
        fields.push(field);
        if let Some(after) = after.strip_prefix(separator) {
            rest = after;
            continue;
        }
        if lines && let Some(after) = after.strip_prefix('\n').or_else(|| after.strip_prefix("\r\n")) {
            return Ok((fields, after));
        }
        if after.is_empty() {
            return Ok((fields, after));
        }
        return Err("text after a closing quote".to_owned());
    }
}

fn quoted_field(text: &str) -> Result<(String, &str), String> {
    let mut field = String::new();
    let mut rest = text;
    loop {
        let at = rest.find('"').ok_or("a quote that is not closed")?;
        field.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        match rest.strip_prefix('"') {
            Some(after) => {
                field.push('"');
                rest = after;
            }
            None => return Ok((field, rest)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_like_the_reference() {
        let split = |line: &str| fields(line, ',').unwrap_or_else(|error| vec![format!("error: {error}")]);
        assert_eq!(split("a,,b"), ["a", "", "b"]);
        assert_eq!(split("a, \"b\""), ["error: a quote inside a field that does not begin with one"]);
        assert_eq!(split("\"a,\"\"b\"\"\",c"), ["a,\"b\"", "c"]);
        assert_eq!(split("\"a\"b"), ["error: text after a closing quote"]);
        assert_eq!(split(""), ["error: nothing is written here"]);
        assert_eq!(records("a,b\r\n\n1,\"2\n3\"\n").expect("two records"), [["a", "b"], ["1", "2\n3"]]);
    }
}
