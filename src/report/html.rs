//! Self-contained HTML pages: no scripts, and nothing loaded from elsewhere.

use super::table::{Align, Table};
use crate::environment::Environment;
use maud::{DOCTYPE, Markup, PreEscaped, html};

/// A part of a page under a heading.
#[derive(Clone, Debug)]
pub struct Section {
    /// Heading of the section.
    pub title: String,
    /// Content of the section.
    pub body: Markup,
}

impl Section {
    /// A section.
    pub fn new(title: impl Into<String>, body: Markup) -> Section {
        Section { title: title.into(), body }
    }
}

/// A whole page: the title, the sections, and the environment as the last of them.
pub fn page(title: &str, environment: &Environment, sections: &[Section]) -> String {
    let machine = Section::new("Environment", self::environment(environment));
    let sections: Vec<&Section> = sections.iter().chain([&machine]).collect();
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="generator" content=(format!("effnet {}", env!("CARGO_PKG_VERSION")));
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main {
                    h1 { (title) }
                    @if sections.len() > 2 {
                        nav {
                            @for (index, section) in sections.iter().enumerate() {
                                a href=(format!("#s{index}")) { (section.title) }
                            }
                        }
                    }
                    @for (index, section) in sections.iter().enumerate() {
                        section id=(format!("s{index}")) {
                            h2 { (section.title) }
                            (section.body)
                        }
                    }
                }
            }
        }
    };
    page.into_string()
}

/// A table; its numbers stand below each other.
pub fn table(table: &Table) -> Markup {
    let class = |align: Align| (align == Align::Right).then_some("number");
    html! {
        div .scrolls {
            table {
                thead {
                    tr {
                        @for (heading, align) in table.columns() {
                            th class=[class(*align)] scope="col" { (heading) }
                        }
                    }
                }
                tbody {
                    @for row in table.rows() {
                        tr {
                            @for (cell, (_, align)) in row.iter().zip(table.columns()) {
                                td class=[class(*align)] { (cell) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A plot, as [`plot`](super::plot) draws it, above a caption.
pub fn figure(svg: &str, caption: &str) -> Markup {
    html! {
        figure {
            div .scrolls { (PreEscaped(svg)) }
            figcaption { (caption) }
        }
    }
}

/// Sentences that call for attention; nothing where there are none.
pub fn warnings(list: &[String]) -> Markup {
    html! {
        @if !list.is_empty() {
            ul .warnings { @for warning in list { li { (warning) } } }
        }
    }
}

/// A paragraph.
pub fn text(text: &str) -> Markup {
    html! { p { (text) } }
}

/// Everything that is known about the machine.
pub fn environment(environment: &Environment) -> Markup {
    html! {
        dl {
            @for (name, value) in environment.fields() {
                dt { (name) }
                dd { (value) }
            }
        }
    }
}

const STYLE: &str = "
:root { color-scheme: light dark; --paper: #fff; --ink: #1b1f24; --line: #d5d9de; --faint: #5b6470;
  --band: #f5f6f8; --alarm: #fff4e0; --alarm-edge: #d55e00; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #15181c; --ink: #e6e8eb; --line: #353b43; --faint: #9aa3ad; --band: #1c2025;
    --alarm: #2e2415; --alarm-edge: #e69f00; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif; }
main { max-width: 1200px; margin: 0 auto; padding: 1.5rem 1.25rem 3rem; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .75rem; }
h2 { font-size: 1.15rem; margin: 2.25rem 0 .75rem; padding-bottom: .25rem;
  border-bottom: 1px solid var(--line); }
nav { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; }
a { color: inherit; text-decoration-color: var(--faint); text-underline-offset: .2em; }
p { max-width: 75ch; }
.scrolls { overflow-x: auto; }
table { border-collapse: collapse; font-size: .85rem; }
th, td { padding: .3rem .7rem .3rem 0; text-align: left; vertical-align: baseline;
  border-bottom: 1px solid var(--line); }
th { color: var(--faint); font-weight: 600; white-space: nowrap; }
tbody tr:hover { background: var(--band); }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
figure { margin: 1rem 0 1.75rem; }
figure svg { display: block; max-width: 100%; height: auto; min-width: 640px; }
figcaption { color: var(--faint); font-size: .9rem; max-width: 75ch; margin-top: .35rem; }
.warnings { list-style: none; margin: .75rem 0; padding: 0; }
.warnings li { background: var(--alarm); border-left: 4px solid var(--alarm-edge);
  padding: .5rem .75rem; margin: .5rem 0; overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .3rem 1.25rem; margin: 0; }
dt { color: var(--faint); }
dd { margin: 0; overflow-wrap: anywhere; }
@media print { nav { display: none; } figure, tr { break-inside: avoid; } }
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_everything_in_it_and_nothing_elsewhere() {
        let mut numbers = Table::new(&[("name", Align::Left), ("n", Align::Right)]);
        numbers.row(["<b0>".to_owned(), "5".to_owned()]);
        let sections = [
            Section::new("A & B", table(&numbers)),
            Section::new("Plot", figure("<svg></svg>", "a caption")),
            Section::new("Warnings", warnings(&["look out".to_owned()])),
        ];
        let page = page("times of <b0>", &Environment::collect(&[]), &sections);
        for part in [
            "<!DOCTYPE html>",
            "<title>times of &lt;b0&gt;</title>",
            "<h2>A &amp; B</h2>",
            "<td class=\"number\">5</td>",
            "<td>&lt;b0&gt;</td>",
            "<svg></svg>",
            "look out",
            env!("CARGO_PKG_VERSION"),
            "logical cores",
        ] {
            assert!(page.contains(part), "no {part} in {page}");
        }
        for absent in ["<script", "http://", "https://", "src="] {
            assert!(!page.contains(absent), "{absent} in {page}");
        }
    }

    #[test]
    fn no_warnings_are_nothing() {
        assert_eq!(warnings(&[]).into_string(), "");
    }
}
