# The examples of the documentation, on a node of their own.

defmodule Senza.DocsTest do
  use ExUnit.Case

  setup do
    start_supervised!({Senza, node: "docs"})
    :ok
  end

  doctest Senza
  doctest Senza.Reading
end
