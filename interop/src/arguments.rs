//! A command line of `--name value` pairs and operands.

use std::error::Error;

/// What programs end with when they cannot do their work.
pub type Failure = Box<dyn Error + Send + Sync>;

/// The arguments of a program, taken out one after the other.
#[derive(Debug)]
pub struct Arguments {
    left: Vec<String>,
}

impl Arguments {
    /// Those behind the program's name.
    pub fn new(arguments: impl Iterator<Item = String>) -> Self {
        Self { left: arguments.collect() }
    }

    /// The value of an option, if it is there; its first one if it is there more than once.
    ///
    /// # Errors
    /// When there is no value behind it.
    pub fn option(&mut self, name: &str) -> Result<Option<String>, Failure> {
        let Some(at) = self.left.iter().position(|argument| argument == name) else {
            return Ok(None);
        };
        if at + 1 == self.left.len() {
            return Err(format!("{name} wants a value").into());
        }
        self.left.remove(at);
        Ok(Some(self.left.remove(at)))
    }

    /// All values of an option that may be repeated.
    ///
    /// # Errors
    /// As [`option`](Self::option).
    pub fn options(&mut self, name: &str) -> Result<Vec<String>, Failure> {
        let mut values = Vec::new();
        while let Some(value) = self.option(name)? {
            values.push(value);
        }
        Ok(values)
    }

    /// The value of an option that has to be there.
    ///
    /// # Errors
    /// When it is not.
    pub fn required(&mut self, name: &str) -> Result<String, Failure> {
        self.option(name)?.ok_or_else(|| format!("{name} is missing").into())
    }

    /// That there was nothing else.
    ///
    /// # Errors
    /// When something is left that no option has taken.
    pub fn end(self) -> Result<(), Failure> {
        self.left.first().map_or(Ok(()), |argument| Err(format!("what is {argument}?").into()))
    }

    /// What no option has taken.
    #[must_use]
    pub fn rest(self) -> Vec<String> {
        self.left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_taken_and_operands_stay() {
        let line = "--a 1 x --b 2 --a 3 y --c";
        let mut arguments = Arguments::new(line.split(' ').map(str::to_owned));
        assert_eq!(arguments.options("--a").unwrap(), ["1", "3"]);
        assert_eq!(arguments.required("--b").unwrap(), "2");
        assert!(arguments.required("--b").is_err());
        assert!(arguments.option("--c").is_err());
        assert_eq!(arguments.rest(), ["x", "y", "--c"]);
        assert!(Arguments::new(["x".to_owned()].into_iter()).end().is_err());
        assert!(Arguments::new(std::iter::empty()).end().is_ok());
    }
}
