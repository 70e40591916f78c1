/**
 * The TypeScript type of what a JSON Schema allows, as far as types can say it: objects with the properties that are
 * named, arrays, tuples, enum, const, anyOf and oneOf. What it does not know ($ref, allOf, ...) is unknown.
 */

type OneOf<S> = S extends { readonly anyOf: readonly (infer O)[] }
  ? JsonSchemaType<O>
  : S extends { readonly oneOf: readonly (infer O)[] }
    ? JsonSchemaType<O>
    : never;

type RequiredKeys<S> = S extends { readonly required: readonly (infer K)[] } ? K : never;

/** One object type in place of an intersection: what people see in their editor. */
type Flat<T> = { [K in keyof T]: T[K] };

type ObjectType<S> = S extends { readonly properties: infer P }
  ? Flat<
      { -readonly [K in keyof P as K extends RequiredKeys<S> ? K : never]: JsonSchemaType<P[K]> } & {
        -readonly [K in keyof P as K extends RequiredKeys<S> ? never : K]?: JsonSchemaType<P[K]>;
      }
    >
  : Record<string, unknown>;

type ArrayType<S> = S extends { readonly prefixItems: infer P extends readonly unknown[] }
  ? [...{ -readonly [K in keyof P]: JsonSchemaType<P[K]> }, ...unknown[]]
  : S extends { readonly items: infer I }
    ? I extends readonly unknown[]
      ? unknown[]
      : JsonSchemaType<I>[]
    : unknown[];

interface Primitives {
  readonly string: string;
  readonly number: number;
  readonly integer: number;
  readonly boolean: boolean;
  readonly null: null;
}

type NamedType<T, S> = T extends keyof Primitives
  ? Primitives[T]
  : T extends 'array'
    ? ArrayType<S>
    : T extends 'object'
      ? ObjectType<S>
      : unknown;

/** A JSON Schema whose type can be told. */
export type TypedJsonSchema =
  | { readonly type: string | readonly string[]; readonly [keyword: string]: unknown }
  | { readonly enum: readonly unknown[]; readonly [keyword: string]: unknown }
  | { readonly const: unknown; readonly [keyword: string]: unknown }
  | { readonly anyOf: readonly unknown[]; readonly [keyword: string]: unknown }
  | { readonly oneOf: readonly unknown[]; readonly [keyword: string]: unknown };

/** The type of the values that the JSON Schema `S` (given as a literal) allows. */
export type JsonSchemaType<S> = S extends { readonly const: infer C }
  ? C
  : S extends { readonly enum: readonly (infer E)[] }
    ? E
    : S extends { readonly anyOf: unknown } | { readonly oneOf: unknown }
      ? OneOf<S>
      : S extends { readonly type: readonly (infer T)[] }
        ? NamedType<T, S>
        : S extends { readonly type: infer T }
          ? NamedType<T, S>
          : unknown;
