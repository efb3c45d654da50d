//! The path of a GPU, on the PTX emulator: levels go up as they are.

use crate::support::*;
use effnet::serve::ModelOptions;
use effnet::session::{Device, InputType, Session, SessionOptions};

#[test]
fn levels_and_values_have_the_logits_of_a_session_of_their_type() {
    let weights = weights();
    let session = SessionOptions { device: Device::Emulator, threads: None, ..session_options(2) };
    let served = Served::new(weights.clone(), ModelOptions { session, ..model_options() });
    let raw = |logits: &[f32]| -> Vec<u8> { logits.iter().flat_map(|x| x.to_le_bytes()).collect() };

    let options = SessionOptions { input: InputType::U8, ..session };
    let mut of_levels = Session::new(weights.clone(), options).unwrap();
    let expected = raw(of_levels.run(&levels(4)[..]).unwrap().logits(0));
    let found = ask(served.address, "m:pixels", "pixels", "UINT8", 1, &levels(4));
    assert!(found == expected, "levels");

    let mut of_values = Session::new(weights, session).unwrap();
    let values = of_values.recipe().normalisation().values(&levels(4));
    let expected = raw(of_values.run(&values[..]).unwrap().logits(0));
    let data: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    let found = ask(served.address, "m:tensor", "input", "FP32", 1, &data);
    assert!(found == expected, "values");
}
