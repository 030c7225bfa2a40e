//! The derives `Serialize` and `Deserialize`.
//!
//! They do what serde's own would, with less to compile: what is the same for all messages stands once in
//! `binary_sv2::derived`, and fields that borrow need no attribute.

use proc_macro2::TokenStream as Tokens;
use quote::{format_ident, quote};

use crate::Message;

pub(crate) fn serialize(message: &Message<'_>) -> Tokens {
    let name = &message.input.ident;
    let (impl_generics, type_generics, where_clause) = message.input.generics.split_for_impl();
    let count = message.fields.len();
    let fields: Vec<_> = message.fields.iter().map(|field| &field.ident).collect();
    let field_names = message.field_names();
    let shown = name.to_string();
    quote! {
        #[automatically_derived]
        impl #impl_generics ::binary_sv2::derived::Serialize for #name #type_generics #where_clause {
            fn serialize<__S: ::binary_sv2::derived::Serializer>(
                &self,
                serializer: __S,
            ) -> ::core::result::Result<__S::Ok, __S::Error> {
                let mut message = serializer.serialize_struct(#shown, #count)?;
                #(::binary_sv2::derived::SerializeStruct::serialize_field(&mut message, #field_names, &self.#fields)?;)*
                ::binary_sv2::derived::SerializeStruct::end(message)
            }
        }
    }
}

pub(crate) fn deserialize(message: &Message<'_>) -> Tokens {
    let name = &message.input.ident;
    let (_, type_generics, where_clause) = message.input.generics.split_for_impl();
    let generics = match message.lifetime {
        Some(lifetime) => quote!(<'__de: #lifetime, #lifetime>),
        None => quote!(<'__de>),
    };
    let visitor = match message.lifetime {
        Some(lifetime) => quote!(MessageVisitor<#lifetime>),
        None => quote!(MessageVisitor),
    };
    let phantom = match message.lifetime {
        Some(lifetime) => quote!(<#lifetime>(::core::marker::PhantomData<&#lifetime ()>)),
        None => quote!((::core::marker::PhantomData<()>)),
    };
    let visits = visits(message);
    let field_names = message.field_names();
    let shown = name.to_string();
    quote! {
        const _: () = {
            struct MessageVisitor #phantom;

            impl #generics ::binary_sv2::derived::Visitor<'__de> for #visitor #where_clause {
                type Value = #name #type_generics;

                fn expecting(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                    f.write_str(#shown)
                }

                #visits
            }

            #[automatically_derived]
            impl #generics ::binary_sv2::derived::Deserialize<'__de> for #name #type_generics #where_clause {
                fn deserialize<__D: ::binary_sv2::derived::Deserializer<'__de>>(
                    deserializer: __D,
                ) -> ::core::result::Result<Self, __D::Error> {
                    const FIELDS: &[&str] = &[#(#field_names),*];
                    deserializer.deserialize_struct(#shown, FIELDS, MessageVisitor(::core::marker::PhantomData))
                }
            }
        };
    }
}

/// How the visitor takes the fields: one after another, or by name in any order.
fn visits(message: &Message<'_>) -> Tokens {
    let name = &message.input.ident;
    let fields: Vec<_> = message.fields.iter().map(|field| &field.ident).collect();
    let field_names = message.field_names();
    let positions = 0..fields.len();
    let arms = 0..fields.len();
    let found: Vec<_> = (0..fields.len())
        .map(|position| format_ident!("field_{position}"))
        .collect();
    quote! {
        fn visit_seq<__A: ::binary_sv2::derived::SeqAccess<'__de>>(
            self,
            mut access: __A,
        ) -> ::core::result::Result<Self::Value, __A::Error> {
            let _ = &mut access;
            ::core::result::Result::Ok(#name {
                #(#fields: ::binary_sv2::derived::next_field(&mut access, #positions, &self)?,)*
            })
        }

        fn visit_map<__A: ::binary_sv2::derived::MapAccess<'__de>>(
            self,
            mut access: __A,
        ) -> ::core::result::Result<Self::Value, __A::Error> {
            const FIELDS: &[&str] = &[#(#field_names),*];
            #(let mut #found = ::core::option::Option::None;)*
            while let ::core::option::Option::Some(field) =
                ::binary_sv2::derived::next_name(&mut access, FIELDS)?
            {
                match field {
                    #(::core::option::Option::Some(#arms) => {
                        ::binary_sv2::derived::named_field(&mut access, &mut #found, #field_names)?;
                    })*
                    _ => ::binary_sv2::derived::skip(&mut access)?,
                }
            }
            ::core::result::Result::Ok(#name {
                #(#fields: ::binary_sv2::derived::found_field(#found, #field_names)?,)*
            })
        }
    }
}
