use super::{Builtin, Outcome, Refusal, Wanted, function, number, refuse, text, variadic, whole};
use crate::config::hcl::natural::Natural;
use crate::config::hcl::number::{NotANumber, Number};
use crate::config::hcl::types::Type;
use crate::config::hcl::value::Value;

const TWO: &[Wanted] = &[Wanted::Number, Wanted::Number];

pub(super) const FUNCTIONS: &[Builtin] = &[
    function("absolute", &[Wanted::Number], |values| Ok(Value::Number(number(values, 0)?.absolute()))),
    function("add", TWO, |values| arithmetic(number(values, 0)?.add(number(values, 1)?))),
    function("and", &[Wanted::Bool, Wanted::Bool], |values| {
        Ok(Value::Bool(values[0].as_bool() == Some(true) && values[1].as_bool() == Some(true)))
    }),
    function("ceil", &[Wanted::Number], |values| Ok(Value::Number(number(values, 0)?.to_whole(true)))),
    function("divide", TWO, |values| arithmetic(number(values, 0)?.divide(number(values, 1)?))),
    function("equal", &[Wanted::Nullable, Wanted::Nullable], |values| equal(values, true)),
    function("floor", &[Wanted::Number], |values| Ok(Value::Number(number(values, 0)?.to_whole(false)))),
    function("greaterthan", TWO, |values| Ok(Value::Bool(number(values, 0)? > number(values, 1)?))),
    function("greaterthanorequalto", TWO, |values| Ok(Value::Bool(number(values, 0)? >= number(values, 1)?))),
    function("int", &[Wanted::Number], |values| Ok(Value::Number(number(values, 0)?.truncate()))),
    function("lessthan", TWO, |values| Ok(Value::Bool(number(values, 0)? < number(values, 1)?))),
    function("lessthanorequalto", TWO, |values| Ok(Value::Bool(number(values, 0)? <= number(values, 1)?))),
    function("log", TWO, |values| float(number(values, 0)?.to_f64().ln() / number(values, 1)?.to_f64().ln())),
    variadic("max", &[], Wanted::Number, |values| extreme(values, true)),
    variadic("min", &[], Wanted::Number, |values| extreme(values, false)),
    function("modulo", TWO, |values| arithmetic(number(values, 0)?.modulo(number(values, 1)?))),
    function("multiply", TWO, |values| arithmetic(number(values, 0)?.multiply(number(values, 1)?))),
    function("negate", &[Wanted::Number], |values| Ok(Value::Number(number(values, 0)?.negate()))),
    function("not", &[Wanted::Bool], |values| Ok(Value::Bool(values[0].as_bool() != Some(true)))),
    function("notequal", &[Wanted::Nullable, Wanted::Nullable], |values| equal(values, false)),
    function("or", &[Wanted::Bool, Wanted::Bool], |values| {
        Ok(Value::Bool(values[0].as_bool() == Some(true) || values[1].as_bool() == Some(true)))
    }),
    function("parseint", &[Wanted::Any, Wanted::Number], parse_int),
    function("pow", TWO, |values| float(number(values, 0)?.to_f64().powf(number(values, 1)?.to_f64()))),
    variadic("range", &[], Wanted::Number, range),
    function("signum", &[Wanted::Number], |values| Ok(Value::Number(Number::from_i64(whole(values, 0)?.signum())))),
    function("subtract", TWO, |values| arithmetic(number(values, 0)?.subtract(number(values, 1)?))),
];

fn arithmetic(result: Result<Number, NotANumber>) -> Outcome {
    result.map(Value::Number).map_err(|_| "the operation has no result".into())
}

fn float(value: f64) -> Outcome {
    if value.is_nan() { Err("the operation has no result".into()) } else { Ok(Value::Number(Number::from_f64(value))) }
}

#[expect(clippy::unnecessary_wraps, reason = "functions of one table share a signature")]
fn equal(values: &[Value], wanted: bool) -> Outcome {
    Ok(values[0].equals(&values[1]).map_or(Value::Unknown(Type::Bool), |equal| Value::Bool(equal == wanted)))
}

fn extreme(values: &[Value], largest: bool) -> Outcome {
    let numbers = values.iter().filter_map(Value::as_number);
    // Of equal ones the first stays, which matters for how it is written.
    let best = numbers.reduce(|best, next| if (next > best) == largest && next != best { next } else { best });
    best.cloned().map(Value::Number).ok_or_else(|| "at least one number is required".into())
}

fn parse_int(values: &[Value]) -> Outcome {
    let Some(digits) = values[0].as_str() else {
        return refuse(0, format!("a text is required, this is {}", values[0].ty().name()));
    };
    let base = whole(values, 1)?;
    let Some(base) = u32::try_from(base).ok().filter(|base| (2..=62).contains(base)) else {
        return refuse(1, "the base must be from 2 to 62");
    };
    let (negative, body) = match digits.as_bytes().first() {
        Some(b'-') => (true, &digits[1..]),
        Some(b'+') => (false, &digits[1..]),
        _ => (false, digits),
    };
    if body.len() > 10_000 {
        return refuse(0, "too many digits");
    }
    match Natural::parse(body, base).filter(|_| !body.is_empty()) {
        Some(value) => Ok(Value::Number(Number::from_natural(negative, value))),
        None => refuse(0, format!("`{}` is no whole number in base {base}", text(values, 0))),
    }
}

/// More values than this are refused, as in the reference implementation.
const MAX_RANGE: usize = 1024;

fn range(values: &[Value]) -> Outcome {
    let (zero, one) = (Number::from_i64(0), Number::from_i64(1));
    let (start, end, step) = match values.len() {
        1 => (&zero, number(values, 0)?, None),
        2 => (number(values, 0)?, number(values, 1)?, None),
        3 => (number(values, 0)?, number(values, 1)?, Some(number(values, 2)?)),
        _ => return Err("one, two or three numbers are required".into()),
    };
    let step = match step {
        Some(step) if step.is_zero() => return refuse(2, "the step must not be zero"),
        Some(step) => step.clone(),
        None if end < start => one.negate(),
        None => one,
    };
    let down = step.is_negative();
    if down && end > start || !down && end < start {
        return refuse(1, "the step leads away from the end");
    }
    let mut result = Vec::new();
    let mut current = start.clone();
    while if down { current > *end } else { current < *end } {
        if result.len() >= MAX_RANGE {
            return Err(format!("more than {MAX_RANGE} values").into());
        }
        let next = current.add(&step).map_err(|_| Refusal::from("the operation has no result"))?;
        result.push(Value::Number(std::mem::replace(&mut current, next)));
    }
    Ok(Value::list(Type::Number, result))
}
