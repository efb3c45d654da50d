//! From a word to a class: by name, by id or by index.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// What a number in the place of a class is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The class's index, from 0.
    Index,
    /// The class's name.
    Name,
}

/// What a model's classes are called.
pub struct Classes {
    count: usize,
    has_names: bool,
    has_ids: bool,
    /// Names, first synonyms and ids; nothing where two classes share one.
    exact: HashMap<String, Option<usize>>,
    /// Names and first synonyms without regard to case, `_`, `-` and spaces.
    loose: HashMap<String, Option<usize>>,
    /// The other synonyms, in the same way.
    synonyms: HashMap<String, Option<usize>>,
    ids: HashMap<String, Option<usize>>,
}

/// The classes that words mean.
#[derive(Debug, PartialEq, Eq)]
pub struct Reading {
    /// One for each word.
    pub classes: Vec<usize>,
    /// What the words are: `name`, `index`, or `name or index`.
    pub by: &'static str,
    /// Where the words could mean something else.
    pub other: Option<Other>,
}

/// The classes that the same words mean if they are read in another way.
#[derive(Debug, PartialEq, Eq)]
pub struct Other {
    /// One for each word.
    pub classes: Vec<usize>,
    /// What the words then are.
    pub by: &'static str,
    /// Which reading was taken and how to have the other, for people.
    pub note: String,
    /// How to have the other.
    pub advice: &'static str,
}

/// Why words are not read.
#[derive(Debug, PartialEq, Eq)]
pub enum Unread {
    /// The word at this place means no class.
    Unknown(usize),
    /// The first word is a number that only an index can be, the second another class's name.
    Mixed(usize, usize),
}

impl Classes {
    /// The classes of a model; `names` and `ids` have one for each class, or are unknown.
    pub fn new(count: usize, names: Option<&[String]>, ids: Option<&[String]>) -> Classes {
        let (mut exact, mut loose) = (HashMap::new(), HashMap::new());
        let (mut synonyms, mut by_id) = (HashMap::new(), HashMap::new());
        for (class, id) in ids.into_iter().flatten().enumerate() {
            insert(&mut exact, id.clone(), class);
            insert(&mut by_id, id.clone(), class);
        }
        for (class, name) in names.into_iter().flatten().enumerate() {
            let mut all = name.split(',').map(str::trim);
            let first = all.next().unwrap_or("");
            for name in [name, first] {
                insert(&mut exact, name.to_owned(), class);
                insert(&mut loose, folded(name), class);
            }
            for synonym in all {
                insert(&mut synonyms, folded(synonym), class);
            }
        }
        let (has_names, has_ids) = (names.is_some(), ids.is_some());
        Classes { count, has_names, has_ids, exact, loose, synonyms, ids: by_id }
    }

    /// Whether their names are known.
    pub fn have_names(&self) -> bool {
        self.has_names
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The class that a word names: by its name, one of the synonyms in it, as in `tench, Tinca
    /// tinca`, or its id. What two classes are called means neither.
    pub fn named(&self, word: &str) -> Option<usize> {
        if let Some(&class) = self.exact.get(word) {
            return class;
        }
        let word = folded(word);
        *self.loose.get(&word).or_else(|| self.synonyms.get(&word))?
    }

    /// The class whose id this is.
    pub fn with_id(&self, id: &str) -> Option<usize> {
        *self.ids.get(id)?
    }

    /// The class that has this index; `3.0` is 3, as pandas writes a column with gaps.
    pub fn numbered(&self, word: &str) -> Option<usize> {
        let word = word.strip_suffix(".0").unwrap_or(word);
        let index = word.parse().ok().filter(|_| is_number(word))?;
        (index < self.count).then_some(index)
    }

    /// Whether a word means a class, in whichever way.
    pub fn knows(&self, word: &str) -> bool {
        self.numbered(word).or_else(|| self.named(word)).is_some()
    }

    /// What words mean, all of them read in the same way: names and ids win over indices.
    pub fn read<W: AsRef<str>>(&self, words: &[W], by: Option<By>) -> Result<Reading, Unread> {
        let read = |meaning: &dyn Fn(&str) -> Option<usize>| -> Vec<Option<usize>> {
            words.iter().map(|word| meaning(word.as_ref())).collect()
        };
        let named = read(&|word| self.named(word));
        let numbered = read(&|word| self.numbered(word));
        match by {
            Some(By::Name) => return all(named, "name"),
            Some(By::Index) => return all(numbered, "index"),
            None => {}
        }
        let pairs = || named.iter().zip(&numbered);
        let doubt = pairs().position(
            |(name, number)| matches!((name, number), (Some(name), Some(number)) if name != number),
        );
        let bare_number = named.iter().position(Option::is_none);
        let classes = pairs().map(|(name, number)| name.or(*number)).collect();
        let by = match bare_number {
            None => "name",
            Some(_) if named.iter().all(Option::is_none) => "index",
            Some(_) => "name or index",
        };
        let mut reading = all(classes, by)?;
        if let (Some(number), Some(name)) = (bare_number, doubt) {
            return Err(Unread::Mixed(number, name));
        }
        if let Some(at) = doubt {
            let word = words[at].as_ref();
            let advice = "--classes-by index";
            let note = format!(
                "class names are numbers: '{word}' is taken for the class of that name, index {}; \
                 {advice} takes it for an index",
                reading.classes[at]
            );
            let others = all(numbered, "index").ok();
            reading.other = others.map(|others| Other { note, advice, ..others.into() });
        }
        Ok(reading)
    }

    /// What is understood, for messages about a word that is not.
    pub fn expected(&self, word: &str, by: Option<By>) -> String {
        let mut ways = Vec::new();
        if by != Some(By::Name) {
            ways.push(format!("a class index 0 to {}", self.count - 1));
        }
        if by != Some(By::Index) {
            if self.has_ids {
                ways.push("an ImageNet id as n01440764".to_owned());
            }
            if self.has_names {
                ways.push("a label that no other class has".to_owned());
            }
        }
        let mut text = match ways.split_last() {
            Some((last, before)) if !before.is_empty() => {
                format!("{}, or {last}", before.join(", "))
            }
            Some((last, _)) => last.clone(),
            None => "a label, which --labels FILE gives".to_owned(),
        };
        if by != Some(By::Name) && word.parse() == Ok(self.count) {
            text.push_str(" (indices count from 0: subtract 1 if these count from 1)");
        }
        text
    }
}

impl From<Reading> for Other {
    fn from(reading: Reading) -> Other {
        Other { classes: reading.classes, by: reading.by, note: String::new(), advice: "" }
    }
}

/// Whether a word has digits and nothing else.
pub fn is_number(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit())
}

fn all(classes: Vec<Option<usize>>, by: &'static str) -> Result<Reading, Unread> {
    match classes.iter().position(Option::is_none) {
        Some(at) => Err(Unread::Unknown(at)),
        None => Ok(Reading { classes: classes.into_iter().flatten().collect(), by, other: None }),
    }
}

fn insert(map: &mut HashMap<String, Option<usize>>, key: String, class: usize) {
    if key.is_empty() {
        return;
    }
    match map.entry(key) {
        Entry::Vacant(place) => {
            place.insert(Some(class));
        }
        Entry::Occupied(mut place) => {
            if *place.get() != Some(class) {
                place.insert(None);
            }
        }
    }
}

/// A name as those who name folders may spell it.
fn folded(name: &str) -> String {
    let words = name.split(|c: char| c.is_whitespace() || "_-".contains(c));
    words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ").to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classes(names: &[&str], ids: &[&str]) -> Classes {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let (names, ids): (Vec<String>, Vec<String>) = (owned(names), owned(ids));
        let some = |list: &[String]| (!list.is_empty()).then(|| list.to_vec());
        Classes::new(names.len(), some(&names).as_deref(), some(&ids).as_deref())
    }

    #[test]
    fn a_class_is_named_by_index_id_or_label() {
        let names = ["tench, Tinca tinca", "gold-fish", "crane", "crane", "Crane, bird, tinca"];
        let classes = classes(&names, &["n01", "n02", "n03", "n04", "n05"]);
        for (word, expected) in [
            ("0", Some(0)),
            ("3", Some(3)),
            ("5", None),
            ("-1", None),
            ("+1", None),
            ("2.0", Some(2)),
            ("2.5", None),
            ("n02", Some(1)),
            ("tench", Some(0)),
            ("tench, Tinca tinca", Some(0)),
            ("Tinca tinca", Some(0)),
            ("tinca_TINCA", Some(0)),
            ("Gold_Fish", Some(1)),
            ("gold fish", Some(1)),
            ("goldfish", None),
            ("crane", None),
            ("Crane", Some(4)),
            ("CRANE", None),
            ("", None),
        ] {
            let found = classes.named(word).or_else(|| classes.numbered(word));
            assert_eq!(found, expected, "'{word}'");
            assert_eq!(classes.knows(word), expected.is_some(), "'{word}'");
        }
        assert_eq!((classes.with_id("n03"), classes.with_id("tench")), (Some(2), None));
    }

    #[test]
    fn names_win_over_numbers_and_the_other_reading_is_told() {
        let numbers = classes(&["1", "2", "0", "cat"], &[]);
        let reading = numbers.read(&["1", "0", "cat"], None).unwrap();
        assert_eq!(
            (&reading.classes[..], reading.by, reading.other),
            (&[0, 2, 3][..], "name", None)
        );
        let reading = numbers.read(&["0", "2"], None).unwrap();
        assert_eq!((&reading.classes[..], reading.by), (&[2, 1][..], "name"));
        let other = reading.other.unwrap();
        assert_eq!((&other.classes[..], other.by), (&[0, 2][..], "index"));
        assert!(other.note.contains("'0'") && other.note.contains("index 2"), "{}", other.note);

        assert_eq!(numbers.read(&["0", "2"], Some(By::Index)).unwrap().classes, [0, 2]);
        assert_eq!(numbers.read(&["cat"], Some(By::Index)), Err(Unread::Unknown(0)));
        assert_eq!(numbers.read(&["1", "3"], Some(By::Name)), Err(Unread::Unknown(1)));
        // 3 is an index alone, and 0 the name of class 2.
        assert_eq!(numbers.read(&["cat", "3", "0"], None), Err(Unread::Mixed(1, 2)));
    }

    #[test]
    fn where_both_readings_agree_there_is_no_doubt() {
        let same = classes(&["0", "1", "dog"], &[]);
        let reading = same.read(&["1", "0", "2"], None).unwrap();
        assert_eq!((&reading.classes[..], reading.by), (&[1, 0, 2][..], "name or index"));
        assert_eq!(reading.other, None);
        let none = Classes::new(12, None, None);
        let reading = none.read(&["11", "03"], None).unwrap();
        assert_eq!((&reading.classes[..], reading.by), (&[11, 3][..], "index"));
        assert_eq!(none.read(&["3"], Some(By::Name)), Err(Unread::Unknown(0)));
        assert!(none.expected("x", Some(By::Name)).contains("--labels"));
        assert!(none.expected("12", None).contains("count from 0"));
        assert_eq!(none.expected("x", None), "a class index 0 to 11");
    }
}
