# What the compiled part logs, as Elixir's Logger gets it.

defmodule Senza.LogTest do
  use ExUnit.Case
  import Senza.Helpers
  alias Senza.Native

  @moduletag :capture_log

  setup do
    :ok = :logger.add_handler(__MODULE__, __MODULE__, %{config: self()})
    on_exit(fn -> :logger.remove_handler(__MODULE__) end)
  end

  # What a handler of the VM's logger is: called by whoever logs, here Senza.Log.
  def log(%{level: level, msg: {:string, message}, meta: %{domain: [:elixir, :senza]} = meta}, %{config: test}) do
    send(test, {:logged, level, IO.chardata_to_string(message), meta})
  end

  def log(_other, _config), do: :ok

  defp logged(wanted) do
    receive do
      {:logged, level, message, meta} -> if message =~ wanted, do: {level, message, meta}, else: logged(wanted)
    after
      60_000 -> flunk("nothing like #{inspect(wanted)} was logged")
    end
  end

  # A debug build has the function that logs what it is told to.
  defp if_it_can_log(test) do
    if Native.misbehaves(), do: test.(), else: IO.puts("SKIPPED: the compiled part was built without it")
  end

  test "what the engine logs comes with its level, target and fields" do
    start_supervised!({Senza.Log, level: :info})
    before = System.system_time(:microsecond)
    two_nodes(%{})
    {level, message, meta} = logged(~r/node up node=b/)
    assert level == :info
    assert message =~ ~r/^node up node=b incarnation=\d+$/
    assert %{application: :senza, target: "senza_mesh::" <> _, fields: %{"node" => "b", "incarnation" => number}} = meta
    assert is_integer(number)
    assert meta.time in before..System.system_time(:microsecond)
    assert is_integer(meta.line) and to_string(meta.file) =~ "engine/mesh/src"
    assert is_binary(meta.thread)
    stop_supervised!(:b)
    assert {:info, _, %{fields: %{"node" => "b"}}} = logged(~r/node down/)
  end

  test "fields of every kind, and no more text than is kept" do
    if_it_can_log(fn ->
      start_supervised!({Senza.Log, level: :debug})
      true = Native.log_some(1, "ä")
      {:warning, message, meta} = logged(~r/as a test asked for/)
      natural = 0xFFFF_FFFF_FFFF_FFFF

      assert %{"natural" => ^natural, "integer" => -1, "float" => 0.5, "truth" => true, "text" => "ä", "number" => 0} =
               meta.fields

      assert message == "as a test asked for number=0 natural=#{natural} integer=-1 float=0.5 truth=true text=ä"
      assert {:debug, "beside it", _} = logged(~r/beside it/)

      true = Native.log_some(1, String.duplicate("ä", 10_000))
      {:warning, _, meta} = logged(~r/as a test asked for/)
      kept = meta.fields["text"]
      assert byte_size(kept) in 4_000..4_100 and String.valid?(kept) and String.ends_with?(kept, "ä…")
    end)
  end

  test "nobody is waited for, and what that drops is told" do
    if_it_can_log(fn ->
      log = start_supervised!({Senza.Log, level: :warning})
      :sys.suspend(log)
      count = 10_000
      true = Native.log_some(count, "")
      # Two messages of a batch each, and a queue.
      assert elem(Process.info(log, :message_queue_len), 1) <= 2
      :sys.resume(log)
      told = account([], 0, count)
      assert length(told) in 1_024..1_152
      assert told == Enum.sort(told)
      assert hd(told) == 0
    end)
  end

  # The numbers of what was told, until that and what was dropped are all.
  defp account(told, dropped, count) when length(told) + dropped == count, do: Enum.reverse(told)

  defp account(told, dropped, count) do
    case logged(~r/as a test asked for|were dropped/) do
      {:warning, _, %{fields: %{"number" => number}}} -> account([number | told], dropped, count)
      {:warning, message, _} -> account(told, dropped + elem(Integer.parse(message), 0), count)
    end
  end

  test "it ends with its process, and begins anew with the next one" do
    if_it_can_log(fn ->
      log = start_supervised!({Senza.Log, filter: "off,senza_elixir=warn"})
      assert {:error, {:already_started, ^log}} = Senza.Log.start_link()
      true = Native.log_some(1, "one")
      assert {:warning, _, _} = logged(~r/text=one/)

      # Again and again: the end of the one before is none of the next.
      last =
        for _ <- 1..50, reduce: log do
          before ->
            finish(before)
            log = eventually(fn -> Process.whereis(Senza.Log) end)
            # It is told once it has begun.
            :sys.get_state(log)
            true = Native.log_some(1, "of #{inspect(log)}")
            assert {:warning, _, %{pid: ^log}} = logged("text=of #{inspect(log)}")
            log
        end

      assert last != log
      stop_supervised!(Senza.Log)
      true = Native.log_some(100, "of nobody")
      start_supervised!({Senza.Log, level: :error})
      true = Native.log_some(100, "too little")
      stop_supervised!(Senza.Log)
      start_supervised!({Senza.Log, level: :warning})
      true = Native.log_some(1, "last")
      {:warning, message, _} = logged(~r/text=/)
      assert message =~ "text=last"
    end)
  end

  test "what cannot be is said" do
    assert_raise ArgumentError, ~r/level must be one of \[.*:warning.*\], got: :loud/, fn ->
      Senza.Log.start_link(level: :loud)
    end

    assert_raise ArgumentError, ~r/filter must be a string, got: :x/, fn -> Senza.Log.start_link(filter: :x) end
    assert_raise ArgumentError, ~r/a level or a filter/, fn -> Senza.Log.start_link(level: :info, filter: "info") end
    assert_raise ArgumentError, ~r/unknown keys \[:colour\]/, fn -> Senza.Log.start_link(colour: 1) end

    Process.flag(:trap_exit, true)

    assert {:error, %Senza.Error{reason: :invalid_config, setting: "filter"}} =
             Senza.Log.start_link(filter: "senza=loud")
  end
end
