//! YAML text to trees that know their lines.
//!
//! YAML 1.2, of which JSON is a part. The parser hands out events; this module builds the tree itself, so that depth and the growth
//! by aliases are bounded while reading and no document can make the program slow or large. Merge keys and tags of one's own
//! are deliberately absent: they have no place in the protobuf JSON form.

use std::{collections::HashMap, rc::Rc};

use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};

use super::Problem;

/// Deepest nesting. The deepest place in `ApplyRequest` is five levels down.
const MAX_DEPTH: usize = 32;

/// As many values may come into a file by aliases. Honest use repeats a few dozen lines; nine lines of nested aliases make billions.
const MAX_ALIASED: usize = 10_000;

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) line: usize,
    pub(super) column: usize,
    pub(super) value: Value,
    /// Values in it, itself included: what an alias to it costs.
    size: usize,
}

#[derive(Debug, Clone)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(String),
    Sequence(Vec<Rc<Node>>),
    Mapping(Vec<(Key, Rc<Node>)>),
}

/// A key of a mapping and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Key {
    pub(super) line: usize,
    pub(super) column: usize,
    pub(super) name: String,
}

impl Value {
    /// What it is, for people.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "true or false",
            Self::Integer(_) | Self::Float(_) => "a number",
            Self::Text(_) => "text",
            Self::Sequence(_) => "a list",
            Self::Mapping(_) => "a mapping",
        }
    }
}

/// The documents of `text` that are not empty.
pub(super) fn documents(text: &str) -> Result<Vec<Node>, Problem> {
    let mut loader = Loader::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| {
            let marker = error.marker();
            syntax(text, marker.line(), marker.col() + 1, error.info())
        })?;
        loader.take(event, span)?;
    }
    Ok(loader.documents)
}

/// A collection that is not closed yet.
struct Open {
    line: usize,
    column: usize,
    anchor: usize,
    size: usize,
    what: Collection,
}

enum Collection {
    Sequence(Vec<Rc<Node>>),
    Mapping {
        entries: Vec<(Key, Rc<Node>)>,
        key: Option<Key>,
        /// Line of each key: a search through `entries` would be quadratic.
        lines: HashMap<String, usize>,
    },
}

#[derive(Default)]
struct Loader {
    documents: Vec<Node>,
    open: Vec<Open>,
    anchors: HashMap<usize, Rc<Node>>,
    aliased: usize,
}

impl Loader {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Problem> {
        let (line, column) = (span.start.line(), span.start.col() + 1);
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::DocumentStart(_) => {
                self.anchors.clear();
                Ok(())
            }
            Event::Scalar(text, style, anchor, tag) => {
                let value = scalar(&text, style, tag.as_deref())
                    .ok_or_else(|| unknown_tag(line, column))?;
                self.place(
                    Node {
                        line,
                        column,
                        value,
                        size: 1,
                    },
                    anchor,
                )
            }
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor).cloned() else {
                    return Err(Problem::at(
                        line,
                        column,
                        "an alias to the value that it is part of",
                    )
                    .with_remedy("write the value out"));
                };
                self.aliased = self.aliased.saturating_add(node.size);
                if self.aliased > MAX_ALIASED {
                    return Err(Problem::at(
                        line,
                        column,
                        format!("aliases (`*name`) expand to more than {MAX_ALIASED} values"),
                    )
                    .with_remedy("write the repeated parts out, or split the file"));
                }
                // The alias stands where it is used: an error in it is found there.
                self.place_shared(node, line, column)
            }
            Event::SequenceStart(anchor, tag) => self.enter(
                line,
                column,
                anchor,
                tag.is_some(),
                Collection::Sequence(Vec::new()),
            ),
            Event::MappingStart(anchor, tag) => {
                let what = Collection::Mapping {
                    entries: Vec::new(),
                    key: None,
                    lines: HashMap::new(),
                };
                self.enter(line, column, anchor, tag.is_some(), what)
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(open) = self.open.pop() else {
                    return Ok(());
                };
                let value = match open.what {
                    Collection::Sequence(items) => Value::Sequence(items),
                    Collection::Mapping { entries, .. } => Value::Mapping(entries),
                };
                let node = Node {
                    line: open.line,
                    column: open.column,
                    value,
                    size: open.size,
                };
                self.place(node, open.anchor)
            }
        }
    }

    fn enter(
        &mut self,
        line: usize,
        column: usize,
        anchor: usize,
        tagged: bool,
        what: Collection,
    ) -> Result<(), Problem> {
        if tagged {
            return Err(unknown_tag(line, column));
        }
        if self.open.len() >= MAX_DEPTH {
            return Err(
                Problem::at(line, column, format!("nested more than {MAX_DEPTH} deep"))
                    .with_remedy(
                        "a manifest is never that deep; look for brackets or dashes too many",
                    ),
            );
        }
        if let Some(Open {
            what: Collection::Mapping { key: None, .. },
            ..
        }) = self.open.last()
        {
            return Err(complex_key(line, column));
        }
        self.open.push(Open {
            line,
            column,
            anchor,
            size: 1,
            what,
        });
        Ok(())
    }

    fn place(&mut self, node: Node, anchor: usize) -> Result<(), Problem> {
        let (line, column) = (node.line, node.column);
        let node = Rc::new(node);
        if anchor > 0 {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        self.place_shared(node, line, column)
    }

    fn place_shared(&mut self, node: Rc<Node>, line: usize, column: usize) -> Result<(), Problem> {
        let Some(open) = self.open.last_mut() else {
            if !matches!(node.value, Value::Null) {
                self.documents.push(Rc::unwrap_or_clone(node));
            }
            return Ok(());
        };
        open.size = open.size.saturating_add(node.size);
        match &mut open.what {
            Collection::Sequence(items) => items.push(node),
            Collection::Mapping {
                entries,
                key,
                lines,
            } => match key.take() {
                Some(key) => entries.push((key, node)),
                None => *key = Some(new_key(lines, &node, line, column)?),
            },
        }
        Ok(())
    }
}

fn new_key(
    lines: &mut HashMap<String, usize>,
    node: &Node,
    line: usize,
    column: usize,
) -> Result<Key, Problem> {
    let name = match &node.value {
        Value::Text(text) => text.clone(),
        // Environment variables and the like may have such names; their text is meant.
        Value::Integer(number) => number.to_string(),
        Value::Bool(value) => value.to_string(),
        Value::Null => {
            return Err(Problem::at(line, column, "a key without a name")
                .with_remedy("write the name of a field before the colon"));
        }
        Value::Float(_) | Value::Sequence(_) | Value::Mapping(_) => {
            return Err(complex_key(line, column));
        }
    };
    if let Some(first) = lines.insert(name.clone(), line) {
        let message = format!("`{name}` is already set on line {first}");
        return Err(Problem::at(line, column, message).with_remedy("keep one of the two"));
    }
    Ok(Key { line, column, name })
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Option<Value> {
    if let Some(tag) = tag {
        let of_yaml = tag.handle == "tag:yaml.org,2002:" || tag.handle == "!!";
        return (of_yaml && tag.suffix == "str").then(|| Value::Text(text.to_owned()));
    }
    if style != ScalarStyle::Plain {
        return Some(Value::Text(text.to_owned()));
    }
    Some(plain(text))
}

/// YAML 1.2's core schema: `yes`, `no`, `on` and `off` are text.
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    let radix = |prefix: &str, radix| {
        text.strip_prefix(prefix)
            .and_then(|digits| i128::from_str_radix(digits, radix).ok())
    };
    if let Some(number) = radix("0x", 16)
        .or_else(|| radix("0o", 8))
        .or_else(|| text.parse().ok())
    {
        return Value::Integer(number);
    }
    // `parse` also takes `inf`, `nan` and `infinity`, which are words here.
    let numeric = text
        .bytes()
        .all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b))
        && text.bytes().any(|b| b.is_ascii_digit());
    match text.parse::<f64>() {
        Ok(number) if numeric && number.is_finite() => Value::Float(number),
        _ => Value::Text(text.to_owned()),
    }
}

fn syntax(text: &str, line: usize, column: usize, info: &str) -> Problem {
    let starts_with_tab = text
        .lines()
        .nth(line.saturating_sub(1))
        .is_some_and(|l| l.trim_start_matches(' ').starts_with('\t'));
    let problem = Problem::at(line, column, format!("not YAML: {info}"));
    if starts_with_tab {
        return problem.with_remedy("indent with spaces, not with tabs");
    }
    match info {
        i if i.contains("unknown anchor") => problem
            .with_remedy("an alias `*name` needs an anchor `&name` before it in the same document"),
        i if i.contains("recursion limit") => {
            problem.with_remedy("a manifest is never that deep; look for brackets too many")
        }
        _ => problem
            .with_remedy("check quotes, brackets and indentation here and on the line before"),
    }
}

fn unknown_tag(line: usize, column: usize) -> Problem {
    Problem::at(line, column, "a tag (`!name`) is not part of a manifest").with_remedy("remove it")
}

fn complex_key(line: usize, column: usize) -> Problem {
    Problem::at(line, column, "a key must be the name of a field")
        .with_remedy("put the name in quotes if it has special characters")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_follow_the_core_schema() {
        assert!(matches!(plain("no"), Value::Text(_)));
        assert!(matches!(plain("0x1F"), Value::Integer(31)));
        assert!(matches!(plain("-7"), Value::Integer(-7)));
        assert!(matches!(plain("1.5e3"), Value::Float(_)));
        assert!(matches!(plain("inf"), Value::Text(_)));
        assert!(matches!(plain("1.2.3"), Value::Text(_)));
        assert!(matches!(plain("~"), Value::Null));
        assert!(matches!(plain("500m"), Value::Text(_)));
    }

    #[test]
    fn aliases_share_and_are_counted() {
        let docs = documents("a: &x [1, 2]\nb: *x\n").unwrap();
        let Value::Mapping(entries) = &docs[0].value else {
            panic!("{docs:?}")
        };
        assert!(Rc::ptr_eq(&entries[0].1, &entries[1].1));

        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..30 {
            let below = format!("*a{}", level - 1);
            bomb += &format!("a{level}: &a{level} [{}]\n", vec![below; 10].join(", "));
        }
        let problem = documents(&bomb).unwrap_err().to_string();
        assert!(
            problem.contains("aliases") && problem.starts_with("4:"),
            "{problem}"
        );
    }

    #[test]
    fn empty_documents_are_skipped() {
        assert_eq!(documents("# nothing\n---\n---\n~\n").unwrap().len(), 0);
        assert_eq!(
            documents("---\na: 1\n---\n# no\n---\nb: 2\n")
                .unwrap()
                .len(),
            2
        );
    }

    #[test]
    fn depth_is_bounded_without_recursion() {
        for text in [
            "- ".repeat(100_000),
            "{a: ".repeat(50_000),
            "[".repeat(100_000),
        ] {
            let problem = documents(&text).unwrap_err().to_string();
            assert!(problem.contains("deep"), "{problem}");
        }
    }
}
