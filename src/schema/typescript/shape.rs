//! A TypeScript type as data, with union and intersection of types.
//!
//! Union and intersection simplify their result, so that the printed source is short. `Unknown` is TypeScript's
//! `unknown`: a union with it is `Unknown`, and an intersection with it is the other type.

use serde_json::Value;

/// A TypeScript type.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Shape {
    Unknown,
    Never,
    /// `string`, `number`, `boolean`, `null` or `undefined`.
    Keyword(&'static str),
    /// A literal type: one scalar.
    Literal(Value),
    /// A reference to a declared type.
    Name(String),
    Array(Box<Shape>),
    Tuple(Tuple),
    Object(Object),
    Union(Vec<Shape>),
    Intersection(Vec<Shape>),
}

/// An array whose first members have their own types.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tuple {
    pub members: Vec<Shape>,
    /// How many of the members are required.
    pub required: usize,
    /// The type of further members, if any may follow.
    pub rest: Option<Box<Shape>>,
}

/// An object: its fields, and its index signature.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Object {
    pub fields: Vec<Field>,
    pub index: Option<Box<Shape>>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Field {
    pub name: String,
    pub doc: Option<String>,
    pub required: bool,
    pub shape: Shape,
}

impl Shape {
    /// The union of `members`.
    pub fn union(members: impl IntoIterator<Item = Self>) -> Self {
        let mut kept: Vec<Self> = Vec::new();
        for member in members {
            let flat = match member {
                Self::Unknown => return Self::Unknown,
                Self::Never => continue,
                Self::Union(members) => members,
                single => vec![single],
            };
            for shape in flat {
                if !kept.iter().any(|known| *known == shape || known.includes(&shape)) {
                    kept.retain(|known| !shape.includes(known));
                    kept.push(shape);
                }
            }
        }
        match kept.len() {
            0 => Self::Never,
            1 => kept.remove(0),
            _ => Self::Union(kept),
        }
    }

    /// The intersection of `members`.
    pub fn intersection(members: impl IntoIterator<Item = Self>) -> Self {
        members.into_iter().fold(Self::Unknown, Self::and)
    }

    /// The intersection of two types.
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Unknown, shape) | (shape, Self::Unknown) => shape,
            (Self::Never, _) | (_, Self::Never) => Self::Never,
            (one, same) if one == same => one,
            (Self::Union(members), other) if other.is_scalar() => {
                Self::union(members.into_iter().map(|member| member.and(other.clone())))
            }
            (scalar, Self::Union(members)) if scalar.is_scalar() => {
                Self::union(members.into_iter().map(|member| scalar.clone().and(member)))
            }
            (wide, narrow) if wide.includes(&narrow) => narrow,
            (narrow, wide) if wide.includes(&narrow) => narrow,
            (Self::Object(one), Self::Object(other)) if one.joins(&other) => Self::Object(one.merged(other)),
            (one, other) if one.excludes(&other) => Self::Never,
            (Self::Intersection(mut members), Self::Object(other)) => {
                let objects = |member: &&mut Self| matches!(member, Self::Object(one) if one.joins(&other));
                if let Some(Self::Object(one)) = members.iter_mut().find(objects) {
                    *one = std::mem::take(one).merged(other);
                } else {
                    members.push(Self::Object(other));
                }
                Self::Intersection(members)
            }
            (Self::Intersection(mut members), other) => {
                if !members.contains(&other) {
                    members.push(other);
                }
                Self::Intersection(members)
            }
            (one, Self::Intersection(members)) => Self::intersection(std::iter::once(one).chain(members)),
            (one, other) => Self::Intersection(vec![one, other]),
        }
    }

    /// The type that has this one value.
    pub fn of_value(value: &Value) -> Self {
        /// JavaScript cannot hold larger integers exactly, so a literal type would be another number.
        const MAX_INTEGER: f64 = 9_007_199_254_740_991.0;
        match value {
            Value::Null => Self::Keyword("null"),
            Value::Number(number) if number.as_f64().is_none_or(|number| number.abs() > MAX_INTEGER) => {
                Self::Keyword("number")
            }
            Value::Array(items) => Self::Tuple(Tuple {
                members: items.iter().map(Self::of_value).collect(),
                required: items.len(),
                rest: None,
            }),
            Value::Object(members) => {
                let field = |(name, value): (&String, &Value)| Field {
                    name: name.clone(),
                    doc: None,
                    required: true,
                    shape: Self::of_value(value),
                };
                let index = members.is_empty().then(|| Box::new(Self::Never));
                Self::Object(Object { fields: members.iter().map(field).collect(), index })
            }
            scalar => Self::Literal(scalar.clone()),
        }
    }

    /// Replaces references to declared types in this type, its unions and its intersections. Objects, arrays and tuples are
    /// left as they are.
    pub fn replace_names(self, change: &impl Fn(String) -> Self) -> Self {
        match self {
            Self::Name(name) => change(name),
            Self::Union(members) => Self::union(members.into_iter().map(|member| member.replace_names(change))),
            Self::Intersection(members) => {
                Self::intersection(members.into_iter().map(|member| member.replace_names(change)))
            }
            other => other,
        }
    }

    /// The names that [`Shape::replace_names`] would replace.
    pub fn names(&self) -> Vec<&str> {
        match self {
            Self::Name(name) => vec![name],
            Self::Union(members) | Self::Intersection(members) => members.iter().flat_map(Self::names).collect(),
            _ => Vec::new(),
        }
    }

    /// The fields of this object, or of the first object with fields in this union.
    pub fn fields(&self) -> &[Field] {
        match self {
            Self::Object(object) => &object.fields,
            Self::Union(members) => {
                members.iter().map(Self::fields).find(|fields| !fields.is_empty()).unwrap_or_default()
            }
            _ => &[],
        }
    }

    /// Whether every value of `other` is a value of this type. False if only a declared type could tell.
    fn includes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Keyword(_), Self::Literal(_)) => self.keyword() == other.keyword(),
            (Self::Array(any), Self::Array(_) | Self::Tuple(_)) => **any == Self::Unknown,
            _ => false,
        }
    }

    /// Whether no value belongs to both types, given that neither includes the other.
    fn excludes(&self, other: &Self) -> bool {
        let array = |shape: &Self| matches!(shape, Self::Array(_) | Self::Tuple(_));
        let object = |shape: &Self| matches!(shape, Self::Object(_));
        let known = |shape: &Self| shape.keyword().is_some() || array(shape) || object(shape);
        known(self) && known(other) && !(array(self) && array(other)) && !(object(self) && object(other))
    }

    fn is_scalar(&self) -> bool {
        match self {
            Self::Union(members) => members.iter().all(Self::is_scalar),
            _ => self.keyword().is_some(),
        }
    }

    fn keyword(&self) -> Option<&'static str> {
        match self {
            Self::Keyword(keyword) => Some(keyword),
            Self::Literal(Value::String(_)) => Some("string"),
            Self::Literal(Value::Number(_)) => Some("number"),
            Self::Literal(Value::Bool(_)) => Some("boolean"),
            _ => None,
        }
    }
}

impl Object {
    /// Whether the intersection of the two is one object: not if one has an index signature for fields of the other.
    fn joins(&self, other: &Self) -> bool {
        let open = |object: &Self| object.index.as_deref().is_none_or(|shape| *shape == Shape::Unknown);
        open(self) && open(other)
    }

    fn merged(mut self, other: Self) -> Self {
        for field in other.fields {
            match self.fields.iter_mut().find(|known| known.name == field.name) {
                None => self.fields.push(field),
                Some(known) => {
                    known.required |= field.required;
                    known.shape = std::mem::replace(&mut known.shape, Shape::Never).and(field.shape);
                    known.doc = known.doc.take().or(field.doc);
                }
            }
        }
        self.index = self.index.or(other.index);
        self
    }
}
