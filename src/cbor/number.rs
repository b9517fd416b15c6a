//! Numbers in every form that clients send them.

use super::Error;

/// An integer or a float, of any width.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Number {
    /// −2⁶⁴ to 2⁶⁴ − 1, or more if it came as an integer of any size.
    Integer(i128),
    /// Half, single or double precision; every value of the narrower two is a value
    /// of the widest.
    Float(f64),
}

impl Number {
    /// The number as a float; integers beyond 2⁵³ are rounded to the nearest one.
    ///
    /// # Errors
    /// [`Error::NotFinite`].
    pub fn finite(self) -> Result<f64, Error> {
        match self {
            Number::Integer(integer) => Ok(integer as f64),
            Number::Float(float) if float.is_finite() => Ok(float),
            Number::Float(float) => Err(Error::NotFinite(float)),
        }
    }

    /// The number as an integer, if it is one: `3.0` is 3. Floats beyond ±2¹²⁷
    /// saturate, so a caller that narrows the result refuses or caps them like any
    /// other large number.
    ///
    /// # Errors
    /// [`Error::NotFinite`], and [`Error::NotWhole`] for a float with a fraction.
    pub fn whole(self) -> Result<i128, Error> {
        match self {
            Number::Integer(integer) => Ok(integer),
            Number::Float(float) if !float.is_finite() => Err(Error::NotFinite(float)),
            Number::Float(float) if float.fract() != 0.0 => Err(Error::NotWhole(float)),
            Number::Float(float) => Ok(float as i128),
        }
    }
}

/// The value of a half-precision float (RFC 8949 appendix D).
pub(super) fn from_half(bits: u16) -> f64 {
    let exponent = i32::from(bits >> 10 & 0x1f);
    let mantissa = f64::from(bits & 0x3ff);
    let magnitude = match exponent {
        0 => mantissa * 2f64.powi(-24),
        31 if mantissa == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (mantissa + 1024.0) * 2f64.powi(exponent - 25),
    };
    if bits >> 15 == 0 {
        magnitude
    } else {
        -magnitude
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_floats_have_the_values_of_the_standard() {
        for (bits, value) in [
            (0x0000, 0.0),
            (0x0001, 5.960464477539063e-8),
            (0x0400, 0.00006103515625),
            (0x3c00, 1.0),
            (0x3e00, 1.5),
            (0x5cb0, 300.0),
            (0x7bff, 65504.0),
            (0x7c00, f64::INFINITY),
            (0xc400, -4.0),
            (0xfc00, f64::NEG_INFINITY),
        ] {
            assert_eq!(from_half(bits), value, "{bits:04x}");
        }
        assert!(from_half(0x8000).is_sign_negative());
        assert!(from_half(0x7e00).is_nan());
    }

    #[test]
    fn a_fraction_is_no_whole_number_and_a_whole_float_is() {
        assert_eq!(Number::Float(300.0).whole(), Ok(300));
        assert_eq!(Number::Float(-0.0).whole(), Ok(0));
        assert_eq!(Number::Float(2.9).whole(), Err(Error::NotWhole(2.9)));
        assert_eq!(Number::Float(1e300).whole(), Ok(i128::MAX));
        assert_eq!(
            Number::Float(f64::INFINITY).whole(),
            Err(Error::NotFinite(f64::INFINITY))
        );
        assert!(matches!(
            Number::Float(f64::NAN).finite(),
            Err(Error::NotFinite(_))
        ));
        assert_eq!(Number::Integer(-3).finite(), Ok(-3.0));
    }
}
