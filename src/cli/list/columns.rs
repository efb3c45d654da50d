//! Which columns of a list, or fields of a JSON record, have the image and its class.

/// Names of the image's column, the surest first.
const PATHS: [&str; 20] = [
    "path",
    "filepath",
    "file_path",
    "file",
    "filename",
    "file_name",
    "image",
    "images",
    "image_path",
    "imagepath",
    "image_file",
    "image_filename",
    "image_name",
    "imagename",
    "img",
    "img_path",
    "img_name",
    "image_id",
    "imageid",
    "id",
];

/// Names of the class's column, the surest first.
const CLASSES: [&str; 22] = [
    "label",
    "labels",
    "class",
    "classes",
    "target",
    "category",
    "class_name",
    "classname",
    "label_name",
    "category_name",
    "ground_truth",
    "truth",
    "class_id",
    "label_id",
    "category_id",
    "class_index",
    "class_idx",
    "label_index",
    "label_idx",
    "breed",
    "species",
    PREDICTION,
];

/// Kaggle's ImageNet: a class, then numbers of its box.
const PREDICTION: &str = "predictionstring";

/// Places of the columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Columns {
    /// The image's path.
    pub path: usize,
    /// Its class.
    pub class: usize,
    /// The rank of a class, in a table of `effnet classify --csv`, where the class is an index.
    pub rank: Option<usize>,
    /// Whether the class is the first of several words.
    pub is_first_word: bool,
}

impl Columns {
    /// The column with the image's path.
    pub fn image(headings: &[String]) -> Option<usize> {
        let place = |name: &&str| headings.iter().position(|heading| plain(heading) == *name);
        PATHS.iter().find_map(place)
    }

    /// The columns under these headings; none where they are no headings of a list.
    pub fn under(headings: &[String]) -> Option<Columns> {
        let headings: Vec<String> = headings.iter().map(|heading| plain(heading)).collect();
        let place = |name: &str| headings.iter().position(|heading| heading == name);
        if let (Some(path), Some(rank), Some(class)) =
            (place("path"), place("rank"), place("index"))
        {
            return Some(Columns { path, class, rank: Some(rank), is_first_word: false });
        }
        let path = Columns::image(&headings)?;
        let class = CLASSES.iter().find_map(|name| place(name))?;
        let is_first_word = headings[class] == PREDICTION;
        Some(Columns { path, class, rank: None, is_first_word })
    }
}

fn plain(heading: &str) -> String {
    // No known name is as long, and a quoted field may be as long as the list.
    if heading.len() > 256 {
        return String::new();
    }
    heading.trim().to_lowercase().replace([' ', '-'], "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_known_by_their_headings() {
        let under = |line: &str| {
            let headings: Vec<String> = line.split(',').map(str::to_owned).collect();
            Columns::under(&headings).map(|columns| (columns.path, columns.class))
        };
        for (line, expected) in [
            ("filename,label", Some((0, 1))),
            ("image,class", Some((0, 1))),
            ("path,target,split", Some((0, 1))),
            ("Label, File Name", Some((1, 0))),
            (",filename,label", Some((1, 2))),
            // A number of the row, as pandas writes it.
            ("index,filename,label", Some((1, 2))),
            ("id,breed", Some((0, 1))),
            ("ImageId,PredictionString", Some((0, 1))),
            ("path,rank,index,label,probability", Some((0, 2))),
            ("a.jpg,label", None),
            ("image,3", None),
        ] {
            assert_eq!(under(line), expected, "{line}");
        }
    }
}
