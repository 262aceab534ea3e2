//! The macro behind every struct of the wire types.
//!
//! serde's own `flatten` keeps unknown fields, but it cannot tell an explicit `null` from a field
//! that is not there, and it writes a key twice where a field is set whose `null` was kept. Hence
//! an implementation of our own, the same for all structs.

/// Defines a JSON object: its fields, and `extra` for what is not one of them.
///
/// A field under `required` has the type that is written; one under `optional` is an `Option` of
/// it. `as "name"` gives the name on the wire where it differs.
macro_rules! object {
    (
        $(#[$meta:meta])*
        pub struct $Name:ident {
            required { $( $(#[$req_meta:meta])* $req:ident $(as $req_wire:literal)?: $Req:ty, )* }
            optional { $( $(#[$opt_meta:meta])* $opt:ident $(as $opt_wire:literal)?: $Opt:ty, )* }
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq)]
        #[non_exhaustive]
        pub struct $Name {
            $( $(#[$req_meta])* pub $req: $Req, )*
            $( $(#[$opt_meta])* pub $opt: Option<$Opt>, )*
            /// Fields that are not known here, and the explicit `null`s of those that are.
            pub extra: ::serde_json::Map<String, ::serde_json::Value>,
        }

        impl ::serde::Serialize for $Name {
            fn serialize<S: ::serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use ::serde::ser::SerializeMap as _;
                let mut map = serializer.serialize_map(None)?;
                $( map.serialize_entry(object!(@wire $req $($req_wire)?), &self.$req)?; )*
                $(
                    if let Some(value) = &self.$opt {
                        map.serialize_entry(object!(@wire $opt $($opt_wire)?), value)?;
                    }
                )*
                for (key, value) in &self.extra {
                    let written = match key.as_str() {
                        $( object!(@wire $req $($req_wire)?) => true, )*
                        $( object!(@wire $opt $($opt_wire)?) => self.$opt.is_some(), )*
                        _ => false,
                    };
                    if !written {
                        map.serialize_entry(key, value)?;
                    }
                }
                map.end()
            }
        }

        impl<'de> ::serde::Deserialize<'de> for $Name {
            fn deserialize<D: ::serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Fields;

                impl<'de> ::serde::de::Visitor<'de> for Fields {
                    type Value = $Name;

                    fn expecting(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                        f.write_str(concat!("an object (", stringify!($Name), ")"))
                    }

                    #[allow(unused_mut, reason = "not every object has required fields")]
                    fn visit_map<A: ::serde::de::MapAccess<'de>>(
                        self,
                        mut access: A,
                    ) -> Result<$Name, A::Error> {
                        $( let mut $req: Option<$Req> = None; )*
                        $( let mut $opt: Option<$Opt> = None; )*
                        let mut extra = ::serde_json::Map::new();
                        while let Some(key) = access.next_key::<String>()? {
                            match key.as_str() {
                                $( object!(@wire $req $($req_wire)?) => $req = Some(access.next_value()?), )*
                                $(
                                    object!(@wire $opt $($opt_wire)?) => {
                                        $opt = access.next_value()?;
                                        if $opt.is_none() {
                                            extra.insert(key, ::serde_json::Value::Null);
                                        }
                                    }
                                )*
                                _ => {
                                    let value: ::serde_json::Value = access.next_value()?;
                                    extra.insert(key, value);
                                }
                            }
                        }
                        Ok($Name {
                            $(
                                $req: $req.ok_or_else(|| {
                                    ::serde::de::Error::missing_field(object!(@wire $req $($req_wire)?))
                                })?,
                            )*
                            $( $opt, )*
                            extra,
                        })
                    }
                }

                deserializer.deserialize_map(Fields)
            }
        }
    };
    (@wire $name:ident) => { stringify!($name) };
    (@wire $name:ident $wire:literal) => { $wire };
}
