//! The grammar of nginx's configuration: words, `;`, and blocks.

use super::super::drafts::Drafts;

/// Blocks inside blocks: far more than any operator writes, and a bound on every recursion over them.
const DEPTH_LIMIT: usize = 32;

/// A directive with its words; a block has further ones inside.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Directive {
    pub name: String,
    pub arguments: Vec<String>,
    pub block: Option<Vec<Directive>>,
    pub line: usize,
}

impl Directive {
    pub fn first(&self) -> &str {
        self.arguments.first().map_or("", String::as_str)
    }

    pub fn inside(&self) -> &[Directive] {
        self.block.as_deref().unwrap_or_default()
    }

    /// As the report calls it.
    pub fn called(&self) -> String {
        let words: Vec<&str> =
            [self.name.as_str()].into_iter().chain(self.arguments.iter().map(String::as_str)).collect();
        format!("line {}, {}", self.line, words.join(" "))
    }
}

/// Reads a file; the error has its line.
pub fn parse(text: &str) -> Result<Vec<Directive>, String> {
    let mut reader = Reader { chars: text.chars().peekable(), line: 1 };
    reader.directives(0, None)
}

/// Reads what `nginx -T` prints, or a plain file: each file's directives under its name, the first one first.
pub fn files(name: &str, text: &str, drafts: &mut Drafts) -> Vec<(String, Vec<Directive>)> {
    const MARK: &str = "# configuration file ";
    let mut parts: Vec<(String, String)> = Vec::new();
    for line in text.lines() {
        let marked = line.strip_prefix(MARK).and_then(|rest| rest.strip_suffix(':'));
        match (marked, parts.last_mut()) {
            (Some(file), _) => parts.push((file.into(), String::new())),
            (None, Some((_, part))) => {
                part.push_str(line);
                part.push('\n');
            }
            (None, None) if text.contains(MARK) => {}
            (None, None) => parts.push((name.into(), format!("{line}\n"))),
        }
    }
    let mut files = Vec::new();
    for (file, part) in parts {
        match parse(&part) {
            Ok(directives) => files.push((file, directives)),
            Err(why) => drafts.left_out(file, why),
        }
    }
    files
}

struct Reader<'t> {
    chars: std::iter::Peekable<std::str::Chars<'t>>,
    line: usize,
}

enum Token {
    Word(String),
    End,
    Open,
    Close,
}

impl Reader<'_> {
    fn directives(&mut self, depth: usize, opened: Option<usize>) -> Result<Vec<Directive>, String> {
        if depth > DEPTH_LIMIT {
            return Err(format!("line {}: blocks are nested too deep", self.line));
        }
        let mut found = Vec::new();
        let mut words: Vec<String> = Vec::new();
        let mut line = self.line;
        loop {
            let Some(token) = self.token()? else {
                return match (opened, words.first()) {
                    (Some(line), _) => Err(format!("line {line}: the block does not end")),
                    (None, Some(word)) => Err(format!("line {line}: `{word}` does not end with `;`")),
                    (None, None) => Ok(found),
                };
            };
            match token {
                Token::Word(word) => {
                    if words.is_empty() {
                        line = self.line;
                    }
                    words.push(word);
                }
                Token::End if words.is_empty() => {}
                Token::End => found.push(directive(std::mem::take(&mut words), None, line)),
                Token::Open => {
                    let is_program = words.first().is_some_and(|name| name.ends_with("_by_lua_block"));
                    let block = match is_program {
                        true => self.skip_program()?,
                        false => self.directives(depth + 1, Some(line))?,
                    };
                    found.push(directive(std::mem::take(&mut words), Some(block), line));
                }
                Token::Close if opened.is_some() && words.is_empty() => return Ok(found),
                Token::Close => return Err(format!("line {}: a `}}` closes nothing", self.line)),
            }
        }
    }

    /// A program in another language: its braces balance, and nothing else of it is looked at.
    fn skip_program(&mut self) -> Result<Vec<Directive>, String> {
        let mut depth = 1;
        while let Some(c) = self.next() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return Ok(Vec::new());
            }
        }
        Err(format!("line {}: the program does not end", self.line))
    }

    fn next(&mut self) -> Option<char> {
        let c = self.chars.next();
        self.line += usize::from(c == Some('\n'));
        c
    }

    fn token(&mut self) -> Result<Option<Token>, String> {
        loop {
            match self.chars.peek() {
                None => return Ok(None),
                Some(c) if c.is_whitespace() => drop(self.next()),
                Some('#') => while self.next().is_some_and(|c| c != '\n') {},
                Some(';') => {
                    self.next();
                    return Ok(Some(Token::End));
                }
                Some('{') => {
                    self.next();
                    return Ok(Some(Token::Open));
                }
                Some('}') => {
                    self.next();
                    return Ok(Some(Token::Close));
                }
                Some('"' | '\'') => return self.quoted().map(Some),
                Some(_) => return Ok(Some(self.word())),
            }
        }
    }

    fn quoted(&mut self) -> Result<Token, String> {
        let line = self.line;
        let quote = self.next();
        let mut text = String::new();
        loop {
            match self.next() {
                None => return Err(format!("line {line}: a quote does not end")),
                c if c == quote => return Ok(Token::Word(text)),
                Some('\\') => match self.next() {
                    Some(c @ ('"' | '\'' | '\\')) => text.push(c),
                    Some('n') => text.push('\n'),
                    Some('t') => text.push('\t'),
                    Some(c) => text.extend(['\\', c]),
                    None => {}
                },
                Some(c) => text.push(c),
            }
        }
    }

    fn word(&mut self) -> Token {
        let mut text = String::new();
        while let Some(c) = self.chars.peek().copied() {
            let in_variable = text.ends_with('$') && c == '{';
            if !in_variable && (c.is_whitespace() || matches!(c, ';' | '{')) {
                break;
            }
            self.next();
            text.push(c);
            match c {
                // The brace of a variable closes inside the word.
                '{' => {
                    while let Some(c) = self.next() {
                        text.push(c);
                        if c == '}' {
                            break;
                        }
                    }
                }
                '\\' => text.extend(self.next()),
                _ => {}
            }
        }
        Token::Word(text)
    }
}

fn directive(mut words: Vec<String>, block: Option<Vec<Directive>>, line: usize) -> Directive {
    let name = if words.is_empty() { String::new() } else { words.remove(0) };
    Directive { name, arguments: words, block, line }
}
