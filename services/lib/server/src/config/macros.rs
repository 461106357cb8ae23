//! The two declarations of the configuration: [`crate::config!`] for structs, [`crate::choice!`]
//! for enumerations. They only write out what a reader would write by hand, field by field.

/// Declares a configuration struct: fields with doc comments, and defaults where
/// `Default::default()` will not do. Makes the struct, its `Default` and its
/// [`Field`](crate::config::Field); rules across fields are an `impl Validate` beside it.
///
/// ```
/// edgeio_server::config! {
///     /// How the uplink behaves.
///     pub struct Uplink {
///         /// Where the parent listens.
///         pub parent: String = "127.0.0.1:10000".to_owned(),
///         /// Longest pause between two attempts.
///         pub cap: std::time::Duration = std::time::Duration::from_secs(30),
///     }
/// }
/// impl edgeio_server::config::Validate for Uplink {}
///
/// assert_eq!(edgeio_server::config::keys::<Uplink>()[1].env(), "EDGEIO_CAP");
/// ```
#[macro_export]
macro_rules! config {
    (
        $(#[doc = $about:expr])*
        $vis:vis struct $name:ident {
            $(
                $(#[doc = $doc:expr])*
                $field_vis:vis $field:ident : $type:ty $(= $default:expr)?
            ),+ $(,)?
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Debug, Clone)]
        $vis struct $name {
            $( $(#[doc = $doc])* $field_vis $field: $type, )+
        }

        impl ::core::default::Default for $name {
            fn default() -> Self {
                Self { $( $field: $crate::__config_default!($($default)?), )+ }
            }
        }

        impl $crate::config::Field for $name {
            fn describe(
                &self,
                path: &str,
                doc: &str,
                entries: &mut ::std::vec::Vec<$crate::config::Entry>,
            ) {
                if !path.is_empty() {
                    entries.push($crate::config::Entry::Section {
                        path: path.to_owned(),
                        doc: doc.to_owned(),
                    });
                }
                $( $crate::config::Field::describe(
                    &self.$field,
                    &$crate::config::join(path, stringify!($field)),
                    ::core::concat!($($doc, "\n",)* ""),
                    entries,
                ); )+
            }

            fn read(
                default: Self,
                path: &str,
                reader: &mut $crate::config::Reader<'_>,
            ) -> Self {
                Self { $( $field: $crate::config::Field::read(
                    default.$field,
                    &$crate::config::join(path, stringify!($field)),
                    reader,
                ), )+ }
            }

            fn write(
                &self,
                path: &str,
                values: &mut ::std::vec::Vec<(
                    ::std::string::String,
                    ::core::option::Option<$crate::config::TomlValue>,
                )>,
            ) {
                $( $crate::config::Field::write(
                    &self.$field,
                    &$crate::config::join(path, stringify!($field)),
                    values,
                ); )+
            }

            fn validate_at(
                &self,
                path: &str,
                problems: &mut ::std::vec::Vec<$crate::config::Problem>,
            ) {
                $crate::config::Validate::validate(
                    self,
                    &mut $crate::config::Check::new(path, problems),
                );
                $( $crate::config::Field::validate_at(
                    &self.$field,
                    &$crate::config::join(path, stringify!($field)),
                    problems,
                ); )+
            }
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __config_default {
    () => {
        ::core::default::Default::default()
    };
    ($default:expr) => {
        $default
    };
}

/// Declares an enumeration with its words, usable as a configuration value.
///
/// ```
/// edgeio_server::choice! {
///     /// How log lines look.
///     pub enum Format {
///         /// For people.
///         Text = "text",
///         /// For machines.
///         Json = "json",
///     }
/// }
/// assert_eq!("json".parse::<Format>(), Ok(Format::Json));
/// ```
#[macro_export]
macro_rules! choice {
    (
        $(#[$about:meta])*
        $vis:vis enum $name:ident {
            $( $(#[$meta:meta])* $variant:ident = $word:literal ),+ $(,)?
        }
    ) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        $vis enum $name {
            $( $(#[$meta])* $variant, )+
        }

        impl ::core::fmt::Display for $name {
            fn fmt(&self, out: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                out.pad(match self { $( Self::$variant => $word, )+ })
            }
        }

        impl ::core::str::FromStr for $name {
            type Err = ::std::string::String;
            fn from_str(text: &str) -> ::core::result::Result<Self, Self::Err> {
                match text {
                    $( $word => Ok(Self::$variant), )+
                    _ => Err(::std::format!("`{text}` is none of its words")),
                }
            }
        }

        impl $crate::config::Value for $name {
            fn expected() -> ::std::string::String {
                [$( ::core::concat!("`", $word, "`") ),+].join(" or ")
            }
            fn parse(text: &str) -> ::core::result::Result<Self, ::std::string::String> {
                text.parse()
            }
            fn to_toml(&self) -> ::core::option::Option<$crate::config::TomlValue> {
                Some($crate::config::TomlValue::String(self.to_string()))
            }
        }
    };
}
