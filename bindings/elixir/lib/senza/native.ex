defmodule Senza.Native do
  @moduledoc false
  # The compiled part: one stub for each function of `native/src`. Nobody but the modules of this package calls it.
  #
  # Runs on: "dirty", for what may take longer than a millisecond, or waits; else on the caller's own scheduler.

  @on_load :load

  def load do
    case {System.get_env("SENZA_NIF"), :code.priv_dir(:senza)} do
      {nil, {:error, _}} -> {:error, {:load_failed, 'neither SENZA_NIF nor the folder priv of senza is there'}}
      {nil, priv} -> :erlang.load_nif(:filename.join(priv, 'libsenza_elixir'), 0)
      {path, _} -> :erlang.load_nif(to_charlist(path), 0)
    end
  end

  # === node.rs ===

  # dirty
  def start(_settings, _owner), do: missing()
  # dirty
  def stop(_node), do: missing()
  def is_open(_node), do: missing()
  def describe(_node), do: missing()
  def ending(_node), do: missing()
  def nodes(_node), do: missing()
  def mode(_node), do: missing()
  # dirty
  def switch(_node, _mode), do: missing()

  # For tests of this package: a release build does not have the last ones.
  def misbehaves, do: missing()
  def panic, do: missing()
  def hold(_ms), do: missing()
  def log_some(_count, _text), do: missing()

  # === registrations.rs ===

  def register(_node, _sensor, _pid, _type, _meta, _conflict, _handle_wanted), do: missing()
  # dirty
  def register_large(_node, _sensor, _pid, _type, _meta, _conflict, _handle_wanted), do: missing()
  def unregister(_node, _sensor), do: missing()
  def leave(_sensor), do: missing()
  def describe_sensor(_sensor), do: missing()
  # dirty
  def declare(_sensor, _attributes), do: missing()
  def whereis(_node, _sensor), do: missing()
  def whereis_name(_node, _sensor), do: missing()
  def owner(_node, _sensor), do: missing()

  # === put.rs, reading.rs, history.rs ===

  def put(_node, _sensor, _attribute, _value, _time), do: missing()
  # dirty
  def put_large(_node, _sensor, _attribute, _value, _time), do: missing()
  def put_to(_sensor, _attribute, _value, _time), do: missing()
  # dirty
  def put_large_to(_sensor, _attribute, _value, _time), do: missing()
  # dirty
  def put_wait(_sensor, _attribute, _value, _time), do: missing()
  def put_few(_node, _readings), do: missing()
  # dirty
  def put_many(_node, _readings), do: missing()
  def latest(_node, _sensor, _attribute), do: missing()
  # dirty
  def latest_large(_node, _sensor, _attribute), do: missing()
  def ask(_node, _sensor, _attribute, _span, _pid), do: missing()
  # dirty
  def ask_much(_node, _sensor, _attribute, _span, _pid), do: missing()

  # === subscription.rs, events.rs, demand.rs, feed.rs ===

  # dirty
  def subscribe(_node, _filter, _contract, _pid, _flow), do: missing()
  # dirty
  def change(_feed, _filters), do: missing()
  def ledger(_feed), do: missing()
  # dirty
  def listen(_node, _pid, _flow), do: missing()
  def demand(_node, _sensor), do: missing()
  # dirty
  def follow_demand(_node, _sensor, _pid), do: missing()
  # dirty
  def follow_demand_of(_sensor, _pid), do: missing()
  def ack(_feed, _count), do: missing()
  def close(_feed), do: missing()
  def receiver(_feed), do: missing()

  # === listing.rs, shadow.rs, heals.rs, latency.rs, log.rs ===

  # dirty
  def follow_log(_filter, _pid), do: missing()

  # dirty
  def page(_node, _from, _filter, _limit), do: missing()
  # dirty
  def ids(_node, _from, _limit), do: missing()
  # dirty
  def shadow(_node), do: missing()
  def compare_one(_node, _sensor, _existing), do: missing()
  # dirty
  def compare_all(_node, _known), do: missing()
  def comparison(_node), do: missing()
  # dirty
  def heals(_node), do: missing()
  # dirty
  def latencies(_node), do: missing()
  # dirty
  def clocks(_node), do: missing()

  defp missing, do: :erlang.nif_error("the compiled part of senza is not loaded")
end
