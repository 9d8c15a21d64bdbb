defmodule Senza.Filter do
  @moduledoc false
  # What a subscription or a listing is about, as the compiled part reads it: five lists of strings. Whether an entry is
  # an id or a pattern is for the engine to say.

  @typedoc "A pattern over `<sensor>/<attribute>`, or lists of which each that is given must match."
  @type t ::
          String.t()
          | [
              {:sensors | :patterns | :attributes | :types | :nodes, String.t() | [String.t()]}
            ]
          | map

  @keys [:sensors, :patterns, :attributes, :types, :nodes]

  def raw!(pattern) when is_binary(pattern), do: raw!(patterns: pattern)

  def raw!(filter) when is_map(filter) or is_list(filter) do
    lists = Map.new(filter, &entries!/1)
    [sensors, patterns, attributes, types, nodes] = Enum.map(@keys, &Map.get(lists, &1, []))
    {sensors, patterns, attributes, types, nodes}
  end

  def raw!(other), do: refuse!(other)

  defp entries!({key, text}) when key in @keys and is_binary(text), do: {key, [text]}

  defp entries!({key, texts}) when key in @keys and is_list(texts) do
    if Enum.all?(texts, &is_binary/1), do: {key, texts}, else: refuse!({key, texts})
  end

  defp entries!(other), do: refuse!(other)

  defp refuse!(other) do
    raise ArgumentError, "a filter must be a pattern, or lists of strings of #{inspect(@keys)}, got: #{inspect(other)}"
  end
end
