//! The texts of the pages in every language, in one catalogue.
//!
//! Owns the languages and how one is chosen. What comes from elsewhere, such as the sentence of an explanation, is not
//! translated.

mod catalogue;

pub(crate) use catalogue::Texts;

/// A language of the pages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Language {
    /// English.
    #[default]
    English,
    /// German.
    German,
}

impl Language {
    pub(crate) const ALL: [Self; 2] = [Self::English, Self::German];

    /// The code of the language in HTML and HTTP.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::German => "de",
        }
    }

    /// The name of the language in itself.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::English => "English",
            Self::German => "Deutsch",
        }
    }

    /// The texts in the language.
    pub(crate) fn texts(self) -> &'static Texts {
        match self {
            Self::English => &catalogue::ENGLISH,
            Self::German => &catalogue::GERMAN,
        }
    }

    /// The language with this code.
    pub(crate) fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|language| language.code() == code)
    }

    /// The language that an `Accept-Language` header prefers; English if it names none of them.
    pub(crate) fn accepted(header: &str) -> Self {
        let mut best = (0, Self::default());
        for range in header.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let tag = parts.next().unwrap_or_default();
            let weight = parts.find_map(|part| part.strip_prefix("q=")).map_or(Some(1000), thousandths).unwrap_or(0);
            let primary = tag.split('-').next().unwrap_or_default().to_ascii_lowercase();
            if let Some(language) = Self::from_code(&primary).filter(|_| weight > best.0) {
                best = (weight, language);
            }
        }
        best.1
    }
}

/// A weight such as `0.8` in thousandths.
fn thousandths(text: &str) -> Option<u32> {
    let weight: f64 = text.parse().ok()?;
    let scaled = (weight * 1000.0).round();
    // The weights of the header are between 0 and 1.
    (0..=1000).find(|whole| (f64::from(*whole) - scaled).abs() < 0.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_preferred_language_is_chosen() {
        for (header, expected) in [
            ("", Language::English),
            ("de", Language::German),
            ("de-AT,de;q=0.9,en;q=0.8", Language::German),
            ("en-GB;q=0.9, de;q=0.95", Language::German),
            ("fr, de;q=0.3, en;q=0.5", Language::English),
            ("fr, *;q=0.5", Language::English),
            ("DE;q=0", Language::English),
            ("de;q=nonsense", Language::English),
        ] {
            assert_eq!(Language::accepted(header), expected, "{header}");
        }
    }
}
