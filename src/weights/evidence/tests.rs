use super::*;
use crate::arch::Size;
use crate::image::Interpolation;
use std::fs;

fn facts(pairs: &[(&str, &str)]) -> Facts {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn texts(evidence: &Evidence) -> Vec<&str> {
    evidence.clues.iter().map(|clue| clue.text.as_str()).collect()
}

/// A file in folders of its own.
fn file(folder: &Path, name: &str) -> PathBuf {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, "").unwrap();
    path
}

#[test]
fn clues_come_in_the_order_of_trust() {
    let place = tempfile::tempdir().unwrap();
    let path = file(place.path(), "run-tf_efficientnet_b1-240/efficientnet_b2.pth");
    fs::write(path.with_file_name("config.json"), r#"{"architecture": "tf_efficientnet_b0"}"#)
        .unwrap();
    let facts = facts(&[
        ("args.model", "efficientnet_b0"),
        ("arch", "efficientnet_lite0"),
        ("args.teacher_model", "tf_efficientnet_b7"),
        ("args.teacher.model", "tf_efficientnet_b7"),
        ("hyper_parameters.backbone", "efficientnet_b0"),
        ("hyper_parameters.optimizer.name", "adam"),
        ("epoch", "3"),
    ]);
    let evidence = Evidence::of(&path, &facts);
    assert_eq!(
        texts(&evidence),
        [
            "its own 'arch' says efficientnet_lite0",
            "its own 'args.model' says efficientnet_b0",
            "config.json beside it says tf_efficientnet_b0",
            "a folder above it says tf_efficientnet_b1",
            "the file's name says efficientnet_b2",
        ]
    );
    let notes = evidence.contradictions((Family::Timm, Variant::B0), false);
    let starts = [
        "its own 'arch' says efficientnet_lite0, but the tensors have the shapes of b0",
        "config.json beside it says tf_efficientnet_b0, of family timm-tf",
        "a folder above it says tf_efficientnet_b1, but the tensors have the shapes of b0",
        "the file's name says efficientnet_b2, but the tensors have the shapes of b0",
    ];
    assert_eq!(notes.len(), starts.len(), "{notes:?}");
    assert!(notes.iter().zip(starts).all(|(note, start)| note.starts_with(start)), "{notes:?}");
    // The user's word is not doubted, the shapes are not either; other families are not timm's.
    assert_eq!(evidence.contradictions((Family::TimmTf, Variant::B0), true).len(), 3);
    assert!(evidence.contradictions((Family::Torchvision, Variant::B0), false).is_empty());
}

#[test]
fn the_hub_s_cache_is_known_from_the_link_and_from_the_blob() {
    let place = tempfile::tempdir().unwrap();
    let model = place.path().join("hub/models--timm--tf_efficientnet_b0.ap_in1k");
    let blob = file(&model, "blobs/0123abcd");
    let evidence = Evidence::of(&blob, &Facts::new());
    let expected = "a folder above it says tf_efficientnet_b0.ap_in1k";
    assert_eq!(texts(&evidence), [expected]);
    // AdvProp's weights want other numbers than the family's usual ones.
    let told = evidence.told(Family::TimmTf, Variant::B0, false);
    assert_eq!((told.recipe.mean, told.recipe.std), (Some([0.5; 3]), Some([0.5; 3])));
    assert_eq!(told.whose, "tf_efficientnet_b0.ap_in1k's");

    #[cfg(unix)]
    {
        let snapshot = model.join("snapshots/77aa");
        fs::create_dir_all(&snapshot).unwrap();
        let config = r#"{"architecture": "tf_efficientnet_b0",
            "pretrained_cfg": {"input_size": [3, 240, 240]}, "label_names": ["a", "b"]}"#;
        fs::write(snapshot.join("config.json"), config).unwrap();
        let link = snapshot.join("model.safetensors");
        std::os::unix::fs::symlink("../../blobs/0123abcd", &link).unwrap();
        let config = "config.json beside it says tf_efficientnet_b0";
        assert_eq!(texts(&Evidence::of(&link, &Facts::new())), [config, expected]);
        // A link from elsewhere has the folders of what it leads to.
        let elsewhere = place.path().join("mine.safetensors");
        std::os::unix::fs::symlink(&link, &elsewhere).unwrap();
        assert_eq!(texts(&Evidence::of(&elsewhere, &Facts::new())), [expected]);

        let told = Evidence::of(&link, &Facts::new()).told(Family::TimmTf, Variant::B0, false);
        // The size is the configuration's, the rest the named checkpoint's.
        assert_eq!(told.recipe.size, Some(Size::square(240)));
        assert_eq!((told.recipe.mean, told.whose.as_str()), (Some([0.5; 3]), "config.json's"));
        let names = ["a", "b"].map(str::to_owned).to_vec();
        assert_eq!(told.labels, Some(Labels::Names(names)));
    }
}

#[test]
fn a_folder_or_file_that_names_no_architecture_is_no_evidence() {
    let place = tempfile::tempdir().unwrap();
    for name in [
        "efficientnet_project/runs/best/model_best.pth.tar",
        "tf_models/tf_efficientnetv2_s/model.safetensors",
        "efficientnet_finetuned.pth",
    ] {
        let evidence = Evidence::of(&file(place.path(), name), &Facts::new());
        assert!(evidence.clues.is_empty() && evidence.notes.is_empty(), "{name}: {evidence:?}");
    }
    let deep = "tf_efficientnet_b0/1/2/3/4/model.pth";
    assert!(Evidence::of(&file(place.path(), deep), &Facts::new()).clues.is_empty());
    let evidence = Evidence::of(&file(place.path(), "x/tf_mine.pth"), &Facts::new());
    assert_eq!(texts(&evidence), ["the file's name says tf_"]);
}

#[test]
fn a_configuration_of_another_network_gives_nothing() {
    let place = tempfile::tempdir().unwrap();
    let path = file(place.path(), "model.safetensors");
    for (architecture, fits) in
        [("tf_efficientnet_b0", true), ("tf_efficientnet_b1", false), ("resnet50", false)]
    {
        let config = format!(
            r#"{{"architecture": "{architecture}", "label_names": ["a"],
                "pretrained_cfg": {{"interpolation": "bilinear"}}}}"#
        );
        fs::write(place.path().join("config.json"), config).unwrap();
        let evidence = Evidence::of(&path, &Facts::new());
        let told = evidence.told(Family::TimmTf, Variant::B0, false);
        let bilinear = Some(Interpolation::PillowBilinear);
        assert_eq!(told.recipe.interpolation, bilinear.filter(|_| fits), "{architecture}");
        assert_eq!(told.labels.is_some(), fits, "{architecture}");
        // Of the family that the user names against it, its recipe is as good.
        let told = evidence.told(Family::Timm, Variant::B0, true);
        assert_eq!(told.recipe.interpolation, bilinear.filter(|_| fits), "{architecture}");
    }
    // What timm would not read is not read either; what makes no sense in what it reads is noted.
    let recipe = r#""interpolation": "bilinear", "mean": [1, 2], "labels": ["a"]"#;
    for (config, fits) in
        [(format!("{{{recipe}}}"), false), (format!(r#"{{"pretrained_cfg": {{{recipe}}}}}"#), true)]
    {
        fs::write(place.path().join("config.json"), config).unwrap();
        let told = Evidence::of(&path, &Facts::new()).told(Family::TimmTf, Variant::B0, false);
        assert_eq!(told.recipe != RecipeOverrides::default(), fits);
        assert_eq!((told.labels.is_some(), told.notes.len()), (fits, usize::from(fits)));
    }
    fs::write(place.path().join("config.json"), "{").unwrap();
    let evidence = Evidence::of(&path, &Facts::new());
    assert!(evidence.clues.is_empty() && evidence.notes.len() == 1, "{evidence:?}");
}

#[test]
fn training_arguments_go_before_a_configuration() {
    let facts = facts(&[
        ("args.model", "tf_efficientnet_b0"),
        ("args.img_size", "192"),
        ("args.mean", "[0.5, 0.25, 0.125]"),
        ("args.interpolation", ""),
        ("args.crop_pct", "nonsense"),
    ]);
    let place = tempfile::tempdir().unwrap();
    let path = file(place.path(), "model.safetensors");
    let config = r#"{"architecture": "tf_efficientnet_b0", "interpolation": "bilinear",
        "input_size": [3, 240, 240]}"#;
    fs::write(place.path().join("config.json"), config).unwrap();
    let evidence = Evidence::of(&path, &facts);
    let told = evidence.told(Family::TimmTf, Variant::B0, false);
    assert_eq!(told.recipe.size, Some(Size::square(192)));
    assert_eq!(told.recipe.mean, Some([0.5, 0.25, 0.125]));
    assert_eq!(told.recipe.interpolation, Some(Interpolation::PillowBilinear));
    assert_eq!((told.recipe.framing, told.whose.as_str()), (None, "its training arguments'"));
    // They are those of the network that the arguments name.
    assert_eq!(
        evidence.told(Family::TimmTf, Variant::B1, false).recipe,
        RecipeOverrides::default()
    );
}
