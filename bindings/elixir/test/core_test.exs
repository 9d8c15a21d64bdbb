defmodule Senza.CoreTest do
  use ExUnit.Case

  test "a sensor is registered, put to, read and found" do
    start_supervised!({Senza, node: "a"})
    {:ok, watch} = Senza.register("watch 1")
    assert {:ok, 1} = Senza.put("watch 1", "pulse", 72)
    assert {:ok, %Senza.Reading{value: 72, seq: 1, node: "a"}} = Senza.latest("watch 1", "pulse")
    assert Senza.SensorRegistry.whereis("watch 1") == {:ok, self()}
    assert {:error, %Senza.Error{reason: :not_found}} = Senza.put("watch 2", "pulse", 72)
    assert is_reference(watch)
  end
end
