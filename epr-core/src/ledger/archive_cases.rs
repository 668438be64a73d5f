//! Files with the entries of a bundle that both verifiers of archives must accept, and such that both must reject: the
//! fixtures of the tests of `epr-core` and of `epr-verify`.

/// The files of a bundle.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// The sequence in the name of each file, and its text.
    pub(crate) files: Vec<(u64, String)>,
    pub(crate) is_accepted: bool,
}

/// Cases from the lines of the entries of a bundle, whose first entry has the sequence `first`.
pub(crate) fn cases(first: u64, lines: &[String]) -> Vec<Case> {
    let text = |lines: &[String]| lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect::<String>();
    let (one, two) = lines.split_at(7);
    let (whole, second) = (text(lines), first + 7);
    let middle = whole.len() / 2;
    let of = |name, files, is_accepted| Case { name, files, is_accepted };
    let halves = whole.split_at(middle);
    vec![
        of("one file", vec![(first, whole.clone())], true),
        of("two files", vec![(first, text(one)), (second, text(two))], true),
        of("an entry in two files", vec![(first, halves.0.to_owned()), (second, halves.1.to_owned())], false),
        of("no line feed at the end", vec![(first, whole.trim_end().to_owned())], false),
        of("no line feed at the end of the first file", vec![(first, one.join("\n")), (second, text(two))], false),
        of("an empty line at the beginning", vec![(first, format!("\n{whole}"))], false),
        of("an empty line at the end", vec![(first, format!("{whole}\n"))], false),
        of("an empty line between", vec![(first, format!("{}\n{}", text(one), text(two)))], false),
        of("an empty file at the end", vec![(first, whole.clone()), (first + 255, String::new())], false),
        of("an empty file", vec![(first, text(one)), (second, String::new())], false),
        of("the name of another entry", vec![(first, text(one)), (second + 1, text(two))], false),
        of("a line that is not JSON", vec![(first, format!("{}no entry\n{}", text(one), text(two)))], false),
        of("a line that ends early", vec![(first, format!("{}{{\"sequence\":8}}\n", text(one)))], false),
        of("a member more", vec![(first, whole.replacen('{', "{\"more\":1,", 1))], true),
        of("a member twice", vec![(first, whole.replacen('{', &format!("{{\"sequence\":{first},"), 1))], false),
        of("spaces", vec![(first, whole.replacen('{', "{ ", 1))], true),
        of("a carriage return", vec![(first, whole.replacen('\n', "\r\n", 1))], true),
        of("no entry of the second file", vec![(first, text(one))], false),
        of("an entry twice", vec![(first, text(one)), (second, text(lines.split_at(6).1))], false),
    ]
}
