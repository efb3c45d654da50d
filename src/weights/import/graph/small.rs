//! Arithmetic of shapes, by which exporters write pads that they could have computed.

use super::Shaping;

/// A tensor of few numbers, as shapes and pads are.
#[derive(Clone, Debug, PartialEq)]
pub struct Small {
    /// The shape, row-major; empty for a scalar.
    pub shape: Vec<usize>,
    /// The elements.
    pub data: Vec<f64>,
    /// Whether the elements are whole numbers: division then drops the rest.
    pub int: bool,
}

impl Small {
    /// Most elements: pads of four axes are eight.
    pub const MAX_ELEMS: usize = 64;

    /// A vector of whole numbers.
    pub fn ints(data: Vec<f64>) -> Small {
        Small { shape: vec![data.len()], data, int: true }
    }

    /// The elements as whole numbers of `usize`, if they are.
    pub fn counts(&self) -> Option<Vec<usize>> {
        const MOST: f64 = (1u64 << 53) as f64;
        let whole =
            |&x: &f64| ((0.0..=MOST).contains(&x) && x.fract() == 0.0).then_some(x as usize);
        self.data.iter().map(whole).collect()
    }

    /// The result of an operation but [`Shaping::Shape`]; `None` where it is not defined, or larger
    /// than a small tensor.
    pub fn of(op: &Shaping, inputs: &[Option<&Small>]) -> Option<Small> {
        let x = inputs.first().copied().flatten();
        let second = || inputs.get(1).copied().flatten();
        let result = match op {
            Shaping::Shape => return None,
            Shaping::Gather { axis } => gather(x?, second()?, *axis)?,
            // Only of what has one axis or none: that is all that pads need.
            Shaping::Unsqueeze | Shaping::Squeeze if x?.shape.len() > 1 => return None,
            Shaping::Unsqueeze if !x?.shape.is_empty() => return None,
            Shaping::Unsqueeze => Small { shape: vec![1], ..x?.clone() },
            Shaping::Squeeze if x?.data.len() != 1 => return None,
            Shaping::Squeeze => Small { shape: vec![], ..x?.clone() },
            Shaping::Reshape => reshape(x?, second()?)?,
            Shaping::Concat => concat(inputs)?,
            Shaping::ConstantOfShape { value, int } => {
                let shape = x?.counts()?;
                let elems = shape.iter().try_fold(1usize, |all, &side| all.checked_mul(side))?;
                if elems > Small::MAX_ELEMS {
                    return None;
                }
                Small { shape, data: vec![*value; elems], int: *int }
            }
            Shaping::Slice => slice(inputs)?,
            Shaping::Transpose => transpose(x?)?,
            Shaping::Add => binary(x?, second()?, |a, b| a + b)?,
            Shaping::Sub => binary(x?, second()?, |a, b| a - b)?,
            Shaping::Mul => binary(x?, second()?, |a, b| a * b)?,
            Shaping::Div if x?.int => binary(x?, second()?, |a, b| (a / b).trunc())?,
            Shaping::Div => binary(x?, second()?, |a, b| a / b)?,
            Shaping::Max => binary(x?, second()?, f64::max)?,
            Shaping::Min => binary(x?, second()?, f64::min)?,
            Shaping::Ceil => x?.map(f64::ceil),
            Shaping::Floor => x?.map(f64::floor),
            Shaping::Clip { min, max } => x?.map(|a| a.max(*min).min(*max)),
            Shaping::Cast { int: true } => Small { int: true, ..x?.map(f64::trunc) },
            Shaping::Cast { int: false } => Small { int: false, ..x?.clone() },
        };
        (result.data.len() <= Small::MAX_ELEMS).then_some(result)
    }

    fn map(&self, f: impl Fn(f64) -> f64) -> Small {
        Small { data: self.data.iter().map(|&x| f(x)).collect(), ..self.clone() }
    }
}

/// Elementwise, where both have the same shape or one has one element.
fn binary(a: &Small, b: &Small, f: impl Fn(f64, f64) -> f64) -> Option<Small> {
    let (long, shape) = match (a.data.len(), b.data.len()) {
        (n, m) if n == m => (n, if a.shape.len() >= b.shape.len() { a } else { b }),
        (n, 1) => (n, a),
        (1, n) => (n, b),
        _ => return None,
    };
    let at = |x: &Small, i: usize| x.data[if x.data.len() == 1 { 0 } else { i }];
    let data = (0..long).map(|i| f(at(a, i), at(b, i))).collect();
    Some(Small { shape: shape.shape.clone(), data, int: a.int && b.int })
}

/// A position that counts from the end where it is negative.
fn position(index: f64, length: usize) -> Option<usize> {
    let index = if index < 0.0 { index + length as f64 } else { index };
    (index >= 0.0 && index < length as f64).then_some(index as usize)
}

fn gather(x: &Small, indices: &Small, axis: i64) -> Option<Small> {
    if x.shape.len() != 1 || axis > 0 {
        return None;
    }
    let pick = |&index: &f64| Some(x.data[position(index, x.data.len())?]);
    let data = indices.data.iter().map(pick).collect::<Option<_>>()?;
    Some(Small { shape: indices.shape.clone(), data, int: x.int })
}

/// One side of the new shape may be -1: what the others leave.
fn reshape(x: &Small, shape: &Small) -> Option<Small> {
    let known: f64 = shape.data.iter().filter(|&&side| side > 0.0).product();
    let rest = x.data.len() as f64 / known;
    let side = |&side: &f64| if side == -1.0 { rest } else { side };
    let shape = Small::ints(shape.data.iter().map(side).collect()).counts()?;
    let elems = shape.iter().try_fold(1usize, |all, &side| all.checked_mul(side));
    (elems == Some(x.data.len())).then(|| Small { shape, ..x.clone() })
}

/// Of vectors.
fn concat(inputs: &[Option<&Small>]) -> Option<Small> {
    let mut data = Vec::new();
    for x in inputs {
        let x = (*x)?;
        if x.shape.len() != 1 || data.len() + x.data.len() > Small::MAX_ELEMS {
            return None;
        }
        data.extend_from_slice(&x.data);
    }
    Some(Small { shape: vec![data.len()], data, int: inputs.iter().flatten().all(|x| x.int) })
}

/// Of the first axis: `x, starts, ends`, and perhaps axes and steps.
fn slice(inputs: &[Option<&Small>]) -> Option<Small> {
    let one = |index: usize| -> Option<Option<f64>> {
        match inputs.get(index).copied().flatten() {
            None => Some(None),
            Some(x) if x.data.len() == 1 => Some(Some(x.data[0])),
            Some(_) => None,
        }
    };
    let x = (*inputs.first()?)?;
    let (start, end) = (one(1)??, one(2)??);
    let (axis, step) = (one(3)?.unwrap_or(0.0), one(4)?.unwrap_or(1.0));
    let &rows = x.shape.first()?;
    let row: usize = x.shape[1..].iter().product();
    if axis != 0.0 || step.abs() != 1.0 {
        return None;
    }
    let from_end = |index: f64| if index < 0.0 { index + rows as f64 } else { index };
    let (start, end) = (from_end(start), from_end(end));
    let picked: Vec<usize> = if step > 0.0 {
        (start.clamp(0.0, rows as f64) as usize..end.clamp(0.0, rows as f64) as usize).collect()
    } else {
        let (first, last) = (start.min(rows as f64 - 1.0), end.max(-1.0));
        (0..rows).rev().filter(|&i| i as f64 <= first && i as f64 > last).collect()
    };
    let data = picked.iter().flat_map(|&i| &x.data[i * row..(i + 1) * row]).copied().collect();
    let shape = [&[picked.len()], &x.shape[1..]].concat();
    Some(Small { shape, data, int: x.int })
}

/// Of a matrix; of a vector it is the vector.
fn transpose(x: &Small) -> Option<Small> {
    match x.shape[..] {
        [_] => Some(x.clone()),
        [rows, columns] => {
            let at = |column: usize| (0..rows).map(move |row| x.data[row * columns + column]);
            let data = (0..columns).flat_map(at).collect();
            Some(Small { shape: vec![columns, rows], data, int: x.int })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PyTorch writes the pads of `F.pad` as this chain: last axis first, turned round.
    #[test]
    fn the_chain_of_torch_s_pads_gives_onnx_s_pads() {
        let given = Small::ints(vec![1.0, 2.0, 3.0, 4.0]);
        let four = Small::ints(vec![4.0]);
        let zeros = Shaping::ConstantOfShape { value: 0.0, int: true };
        let zeros = Small::of(&zeros, &[Some(&four)]).unwrap();
        let all = Small::of(&Shaping::Concat, &[Some(&given), Some(&zeros)]).unwrap();
        let pairs = Small::ints(vec![-1.0, 2.0]);
        let pairs = Small::of(&Shaping::Reshape, &[Some(&all), Some(&pairs)]).unwrap();
        let [start, end, axis, step] =
            [-1.0, i64::MIN as f64 + 1.0, 0.0, -1.0].map(|x| Small::ints(vec![x]));
        let inputs = [&pairs, &start, &end, &axis, &step].map(Some);
        let turned = Small::of(&Shaping::Slice, &inputs).unwrap();
        let transposed = Small::of(&Shaping::Transpose, &[Some(&turned)]).unwrap();
        let flat = Small::ints(vec![-1.0]);
        let pads = Small::of(&Shaping::Reshape, &[Some(&transposed), Some(&flat)]).unwrap();
        // Axes n, c, h, w: begins, then ends; left 1, right 2, top 3, bottom 4.
        assert_eq!(pads.data, [0.0, 0.0, 3.0, 1.0, 0.0, 0.0, 4.0, 2.0]);
    }

    #[test]
    fn numbers_beyond_a_small_tensor_are_not_made() {
        let huge = Small::ints(vec![1e15]);
        let zeros = Shaping::ConstantOfShape { value: 0.0, int: true };
        for bad in [huge, Small::ints(vec![f64::NAN]), Small::ints(vec![9e15, 9e15, 9e15])] {
            assert_eq!(Small::of(&zeros, &[Some(&bad)]), None);
        }
        let full = Small::ints(vec![1.0; Small::MAX_ELEMS]);
        assert_eq!(Small::of(&Shaping::Concat, &[Some(&full), Some(&full)]), None);
        assert_eq!(Small::of(&Shaping::Concat, &[None]), None);
        assert_eq!(Small::of(&Shaping::Add, &[]), None);
        let seven = Small::ints(vec![7.0]);
        let two = Small::ints(vec![2.0]);
        let int = Small::of(&Shaping::Div, &[Some(&seven), Some(&two)]).unwrap();
        let float = Small::of(&Shaping::Cast { int: false }, &[Some(&seven)]).unwrap();
        let float = Small::of(&Shaping::Div, &[Some(&float), Some(&two)]).unwrap();
        assert_eq!((int.data, float.data), (vec![3.0], vec![3.5]));
    }
}
