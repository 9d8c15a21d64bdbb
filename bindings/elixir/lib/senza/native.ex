defmodule Senza.Native do
  @moduledoc false
  # The compiled part: one stub for each function of `native/src`. Nobody but the modules of this package calls it.
  #
  # Runs on: D = a dirty scheduler, for what may take longer than a millisecond; else the caller's own.

  @on_load :load

  def load do
    path = System.get_env("SENZA_NIF") || Path.join(:code.priv_dir(:senza), "libsenza_elixir")
    :erlang.load_nif(to_charlist(path), 0)
  end

  # D
  def start(_settings, _owner), do: missing()
  # D
  def stop(_node), do: missing()
  def is_open(_node), do: missing()
  def describe(_node), do: missing()
  def ending(_node), do: missing()
  def nodes(_node), do: missing()
  def mode(_node), do: missing()
  # D
  def switch(_node, _mode), do: missing()

  def register(_node, _sensor, _pid, _type, _meta, _conflict, _handle_wanted), do: missing()
  def unregister(_node, _sensor), do: missing()
  def leave(_sensor), do: missing()
  def whereis(_node, _sensor), do: missing()
  def whereis_name(_node, _sensor), do: missing()
  def owner(_node, _sensor), do: missing()

  def put(_node, _sensor, _attribute, _value, _time), do: missing()
  def put_to(_sensor, _attribute, _value, _time), do: missing()
  def put_few(_node, _readings), do: missing()
  # D
  def put_many(_node, _readings), do: missing()
  def latest(_node, _sensor, _attribute), do: missing()

  defp missing, do: :erlang.nif_error("the compiled part of senza is not loaded")
end
